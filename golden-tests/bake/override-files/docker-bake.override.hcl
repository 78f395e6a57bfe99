variable "V" { default = "two" }
group "default" { targets = ["b"] }
target "a" { args = { K = "override" } }
target "b" {}
