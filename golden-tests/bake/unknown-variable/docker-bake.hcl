target "default" { tags = [TAGG] }
