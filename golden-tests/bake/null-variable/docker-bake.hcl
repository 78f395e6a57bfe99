variable "V" { default = null }
target "default" {
  args   = { V = V }
  labels = { L = V }
  target = V
  tags   = notequal(V, null) ? ["x:${V}"] : ["x"]
}
