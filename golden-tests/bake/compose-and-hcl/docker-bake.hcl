variable "V" { default = "1" }
target "web" {
  args = { A = "hcl", V = V }
}
target "extra" { inherits = ["web"] }
