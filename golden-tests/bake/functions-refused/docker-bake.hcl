target "default" { args = { A = uuidv4() } }
