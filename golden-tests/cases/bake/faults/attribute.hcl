target "default" {
  platform = ["linux/amd64"]
  args     = { LIST = ["a"] }
}
