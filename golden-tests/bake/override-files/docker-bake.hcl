variable "V" { default = "one" }
group "default" { targets = ["a"] }
target "a" {
  args = { V = V, K = "base" }
  tags = ["a"]
}
