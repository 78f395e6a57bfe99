target "default" {
  contexts = { base = "target:default" }
}
