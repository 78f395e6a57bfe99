group "default" { targets = ["one", "two"] }
target "one" { tags = ["one"] }
target "two" { args = { X = "y" } }
