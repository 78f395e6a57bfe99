target "default" { inherits = ["common", "_bsae"] }
target "_base" {}
target "common" {}
