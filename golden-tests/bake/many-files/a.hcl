group "default" { targets = ["x"] }
target "x" {
  args = { A = "1" }
  tags = ["x:1"]
}
