variable "LIST" { default = ["x", "y"] }
target "default" {
  name     = "t_${n}"
  matrix   = { n = LIST }
  inherits = ["_${n}"]
}
target "_x" { args = { W = "x" } }
target "_y" { args = { W = "y" } }
