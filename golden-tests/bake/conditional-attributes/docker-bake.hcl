variable "DESTDIR" { default = "" }
variable "MULTI" { default = null }
variable "SOURCE" { default = "." }
variable "BINARIES" { default = SOURCE }
function "bindir" {
  params = [name]
  result = DESTDIR != "" ? DESTDIR : "./bin/${name}"
}
group "default" { targets = ["binaries", "tests", "check", "lint"] }
target "_common" {
  args = {
    MULTI = MULTI
    KEEP  = 1
  }
}
target "binaries" {
  inherits = ["_common"]
  output   = [bindir("build")]
}
target "tests" {
  inherits = ["_common"]
  context  = SOURCE
  contexts = SOURCE != BINARIES ? { binaries = "target:binaries" } : null
  args     = { FLAGS = MULTI == "1" ? "-cover" : null }
  output   = ["type=docker,name=tests", DESTDIR]
}
target "check" {
  matrix = {
    dockerfile = ["Dockerfile", "./hack/lint.Dockerfile"]
  }
  name       = "check-${md5(dockerfile)}"
  inherits   = ["_common"]
  dockerfile = dockerfile
  call       = "check"
}
target "lint" {
  name      = "lint-${tag.name}"
  matrix    = { tag = [{ name = "a", tags = "" }, { name = "b", tags = "x y" }] }
  platforms = (tag.name == "a" || tag.tags == "z") && MULTI != null ? ["linux/amd64", "linux/arm64"] : []
  args      = { TAGS = tag.tags }
}
