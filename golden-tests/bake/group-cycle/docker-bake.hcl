group "default" { targets = ["a", "b"] }
group "a" { targets = ["x", "b"] }
group "b" { targets = ["y", "a"] }
target "x" {}
target "y" {}
