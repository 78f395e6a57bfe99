target "default" { tags = ["a", "a", "", "b"] }
target "other" {}
