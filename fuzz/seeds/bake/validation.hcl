variable "P" {
  default = "8080"
  validation {
    condition     = P != ""
    error_message = "P is empty"
  }
  validation {
    condition     = P > 1024
    error_message = "P is privileged: ${P}"
  }
}
target "default" { args = { P = P } }
