target "default" {
  labels = { created = timestamp() }
}
