variable "S" { default = "s" }
variable "N" { default = 1 }
variable "B" { default = false }
variable "NULL" { default = null }
variable "NONE" {}
variable "DERIVED" { default = "${S}-${N + 1}-${B ? "t" : "f"}" }
variable "TL" {
  type    = list(string)
  default = ["d"]
}
variable "TN" { type = number }
variable "TM" {
  type    = map(string)
  default = {}
}
variable "TT" {
  type    = list(number)
  default = [1]
}
local = "${S}!"
target "default" {
  args = { S = S, N = N, B = B, NULL = jsonencode([NULL]), NONE = NONE, DERIVED = DERIVED, L = local, TL = jsonencode(TL), TN = jsonencode([TN]), TM = jsonencode(TM), TT = jsonencode(TT) }
}
