group "default" { targets = ["web", "db"] }
target "web" {
  args       = { A = "a" }
  tags       = ["web"]
  cache-from = ["c1"]
  platforms  = ["linux/amd64"]
}
target "db" { tags = ["db"] }
