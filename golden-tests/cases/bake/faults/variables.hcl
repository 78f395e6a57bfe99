variable "A" { default = "a-${B}" }
variable "B" { default = upper(A) }
target "default" { args = { A = A } }
