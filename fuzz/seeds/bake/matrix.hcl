target "app" {
  name   = "app-${tgt}-${replace(item.v, ".", "-")}"
  matrix = {
    tgt  = ["dev", "prod"]
    item = [{ v = "1.0", p = ["linux/amd64"] }, { v = "2.1", p = ["linux/arm64"] }]
  }
  target    = tgt
  args      = { VERSION = item.v }
  platforms = item.p
  tags      = ["app:${tgt}-${item.v}"]
}
group "default" { targets = ["app"] }
