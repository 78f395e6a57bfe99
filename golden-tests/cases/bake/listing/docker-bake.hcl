variable "TAG" {
  default     = "latest"
  description = "what images are called"
}
variable "PLATFORMS" {
  type    = list(string)
  default = ["linux/amd64"]
}
variable "OPTIONAL" { default = null }
variable "EMPTY" {}
group "default" {
  description = "all that is shipped"
  targets     = ["web", "db"]
}
group "tools" { targets = ["lint"] }
target "web" { description = "the web server" }
target "db" {}
target "lint" {}
