target "default" { args = { A = md5("a") } }
