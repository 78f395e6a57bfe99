variable "TAG" { default = "latest" }
variable "N" {
  type        = number
  default     = 3
  description = "a number"
}
variable "L" {
  type    = list(string)
  default = ["a", "b"]
}
variable "U" {}
variable "B" { default = true }
group "default" { targets = ["app", "db"] }
target "base" {
  args       = { A = "1", N = N, B = B, U = U }
  dockerfile = "x.Dockerfile"
}
target "app" {
  inherits          = ["base"]
  context           = "app"
  tags              = ["app:${TAG}", "${L[1]}", "<x>&"]
  cache-from        = ["type=registry,ref=x/y", "user/app:cache"]
  cache-to          = ["type=inline", { type = "local", dest = "p" }]
  output            = ["type=docker", { type = "oci", dest = "x.tar" }, "out"]
  secret            = ["id=a,src=b", { id = "k", env = "K" }]
  ssh               = ["default", { id = "z", paths = ["agent.sock"] }]
  attest            = ["type=provenance,mode=max", { type = "sbom" }]
  platforms         = ["linux/amd64", "linux/arm64"]
  annotations       = ["index,manifest:a=b"]
  contexts          = { b = "target:base", d = "docker-image://x" }
  labels            = { "org.x" = "y", z = null }
  no-cache          = false
  network           = "none"
  shm-size          = "64m"
  ulimits           = ["nofile=1:2"]
  call              = "check"
  entitlements      = ["security.insecure"]
  extra-hosts       = { h = "1.2.3.4" }
  dockerfile-inline = "FROM a$${B}"
  description       = "the app"
  no-cache-filter   = ["x", "y"]
}
target "db" {
  target = "db"
  pull   = true
}
