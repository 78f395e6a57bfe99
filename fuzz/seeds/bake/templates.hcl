variable "L" { default = ["a", "b"] }
variable "E" { default = "" }
target "default" {
  args = {
    loop     = "%{ for x in L }<${x}>%{ endfor }"
    forkv    = "%{ for k, v in { a = 1, b = 2 } }${k}=${v};%{ endfor }"
    cond     = "%{ if E == "" }empty%{ else }full%{ endif }"
    ifonly   = "%{ if E != "" }full%{ endif }"
    strip    = "a  ${~ "b" ~}  c"
    escapes  = "$${x} %%{if} \t\"\\ \u00e9 \U0001F600"
    nested   = "${"x${"y"}"}"
    heredoc  = <<EOT
one ${L[0]}
  two
EOT
    indented = <<-EOT
      one
        two $${x}
      three
    EOT
    directive = <<EOT
%{ for x in L ~}
- ${x}
%{ endfor ~}
end
EOT
    object   = { a = 1, "b c" = 2, (upper("c")) = 3 }["C"]
    single   = "${true}"
    num      = "${1 + 1}"
  }
  dockerfile-inline = <<EOT
FROM scratch
ARG X=$${Y:-z}
EOT
}
