target "default" {
  contexts = { ops = "target:ops" }
}
target "ops" {
  contexts = { site = "target:site" }
}
target "site" {
  contexts = {
    data = "./data"
    ops  = "target:ops"
  }
}
