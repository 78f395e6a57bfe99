variable "PORT" {
  default = 80
  validation {
    condition     = PORT > 1024
    error_message = "the port ${PORT} is privileged"
  }
}
target "default" {}
