target "one" {
  args       = { A = "one", B = "one", C = "one" }
  tags       = ["one"]
  labels     = { l = "one", m = "one" }
  cache-from = ["one"]
  cache-to   = ["type=local,dest=one"]
  platforms  = ["linux/amd64"]
  secret     = ["id=one,src=one"]
  output     = ["type=docker"]
  annotations = ["k=one"]
  attest     = ["type=sbom", "type=provenance,mode=min"]
  no-cache-filter = ["one"]
  context    = "one"
}
target "two" {
  args       = { B = "two", C = "two", E = "" }
  labels     = { m = "two" }
  cache-from = ["two"]
  cache-to   = ["type=local,dest=two"]
  secret     = ["id=two,src=two"]
  annotations = ["k=two"]
  attest     = ["type=provenance,mode=max"]
  no-cache-filter = ["two"]
}
target "default" {
  inherits = ["one", "two"]
  args     = { C = "own", A = null }
  tags     = []
}
