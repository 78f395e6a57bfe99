group "default" { targets = ["a", "b"] }
group "a" { targets = ["x", "b"] }
group "b" { targets = ["y"] }
target "x" {}
target "y" {}
