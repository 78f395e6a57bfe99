target "base" {
  tags   = ["base"]
  output = ["type=docker"]
}
target "default" { contexts = { b = "target:base", empty = "" } }
