target "default" { platform = ["linux/amd64"] }
