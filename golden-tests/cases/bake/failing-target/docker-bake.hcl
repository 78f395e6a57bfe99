group "default" { targets = ["slow", "broken", "after"] }
target "slow" {
  dockerfile-inline = <<EOT
FROM busybox
RUN sleep 300
EOT
  tags = ["slow"]
}
target "broken" {
  dockerfile-inline = <<EOT
FROM busybox
RUN echo about to fail; exit 7
EOT
  tags = ["broken"]
}
target "after" {
  contexts          = { base = "target:broken" }
  dockerfile-inline = <<EOT
FROM base
RUN echo never
EOT
}
