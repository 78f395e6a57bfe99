group "all" { targets = ["web", "tools"] }
group "tools" { targets = ["lint", "fmt"] }
target "web" {}
target "lint" {}
target "fmt" {}
target "unused" {}
