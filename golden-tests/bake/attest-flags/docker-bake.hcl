group "default" { targets = ["a", "b", "c", "d"] }
target "a" {}
target "b" { output = ["type=docker"] }
target "c" { output = ["type=image,name=x"] }
target "d" { output = ["type=local,dest=o"] }
