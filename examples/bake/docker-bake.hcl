# A base, what operations put on it, and a site in several languages: one graph, one schedule, every shared step once.
variable "TAG" {
  default     = "latest"
  description = "what the images are called"
  validation {
    condition     = TAG != ""
    error_message = "TAG must not be empty"
  }
}

variable "LANGUAGES" {
  type        = list(string)
  default     = ["en", "de"]
  description = "languages that the site is built in"
}

function "image" {
  params = [name]
  result = "${name}:${TAG}"
}

group "default" {
  description = "all that is shipped"
  targets     = ["ops", "site"]
}

# No base image, no network: this machine's own shell.
target "base" {
  context  = "base"
  contexts = { host = "/" }
}

target "ops" {
  description = "the base with operations' conventions"
  context     = "ops"
  contexts    = { base = "target:base" }
  tags        = [image("ops")]
}

target "site" {
  name        = "site-${language}"
  matrix      = { language = LANGUAGES }
  description = "the site"
  context     = "site"
  contexts    = { ops = "target:ops" }
  args        = { LANGUAGE = language }
  tags        = [image("site-${language}")]
}
