target "base" {
  args       = { V = "1.2" }
  tags       = ["base:1"]
  dockerfile = "D"
}
target "default" {
  tags = concat(target.base.tags, ["own:${target.base.args.V}"])
  args = { F = target.base.dockerfile }
}
