target "filter" {
  no-cache-filter = ["build"]
}
target "insecure" {
  entitlements = ["security.insecure"]
}
target "output" {
  output = ["type=oci,dest=x.tar", "type=zip,dest=x.zip"]
}
target "context" {
  context = "nowhere"
}
target "stdin" {
  dockerfile = "-"
}
target "secret" {
  context = "."
  dockerfile-inline = "FROM scratch"
  secret = ["id=token,src=no-such-file"]
}
target "no-dockerfile" {
  dockerfile = "No.Dockerfile"
}
