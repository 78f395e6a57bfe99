group "default" { targets = ["web"] }
group "bad" { targets = ["web", "dbb"] }
target "web" {}
target "db" {}
