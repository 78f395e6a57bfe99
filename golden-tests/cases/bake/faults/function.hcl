target "default" {
  tags = [lowr("A"), substr("abc")]
}
