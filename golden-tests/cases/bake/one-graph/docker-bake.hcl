variable "GREETING" { default = "hello" }
group "default" { targets = ["one", "two", "site"] }
target "_common" {
  dockerfile = "base.Dockerfile"
  args       = { GREETING = GREETING }
}
target "one" {
  inherits = ["_common"]
  target   = "one"
  tags     = ["one", "one:again"]
}
target "two" {
  inherits = ["_common"]
  target   = "two"
  tags     = ["two"]
}
target "site" {
  contexts          = { base = "target:two", data = "data" }
  dockerfile-inline = <<EOT
FROM base
COPY --from=data file /file
RUN cat /greeting /file > /both
EOT
  tags = ["site:$${not-a-variable}" == "" ? "" : "site"]
}
