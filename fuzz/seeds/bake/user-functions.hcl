variable "REG" { default = "r.example.org" }
function "image" {
  params = [name, tag]
  result = "${REG}/${name}:${tag}"
}
function "images" {
  params          = [first]
  variadic_params = rest
  result          = concat([image(first, "latest")], [for r in rest : image(r, "latest")])
}
function "twice" {
  params = [n]
  result = n * 2
}
target "default" {
  tags = images("a", "b", "c")
  args = { T = twice(twice(3)), F = format("%s", images("x")[0]) }
}
