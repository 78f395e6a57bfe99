target "default" {
  args = {
    upper      = upper("aé")
    lower      = lower("ÀB")
    title      = title("hello big world")
    replace    = replace("1.2.3", ".", "-")
    join       = join(",", ["a", "b"], ["c"])
    split      = split("/", "a/b/c")[1]
    format     = format("%s-%d-%05.2f-%q-%v-%%-%#v", "x", 5, 3.14159, "q\"", true, ["a", 1])
    format2    = format("%-5s|%5s|%x|%X|%o|%b|%e|%t|%+d|%05d|%.2s", "a", "b", 255, 255, 8, 5, 1234.5, true, 4, -42, "xyz")
    formatlist = join(";", formatlist("%s=%d", ["a", "b"], [1, 2]))
    trim       = trim("xxaxx", "x")
    trimspace  = trimspace("  a b ")
    trimprefix = trimprefix("v1.2", "v")
    trimsuffix = trimsuffix("a.tar", ".tar")
    substr     = substr("hello", 1, 3)
    substrneg  = substr("hello", -3, -1)
    strlen     = strlen("aé")
    reverse    = reverse("abc")
    indent     = indent(2, "a\nb")
    chomp      = chomp("a\n\n")
    regex      = regex("[0-9]+", "ab12c")
    regexgroup = regex("(?P<x>[a-z]+)[0-9]+", "ab12")["x"]
    regexall   = join("|", regexall("[a-z]", "a1b2"))
    regexrepl  = regex_replace("a1b22", "([0-9]+)", "<$1>")
    sanitize   = sanitize("a/b:c.d-e_f")
    basename   = basename("/a/b/")
    dirname    = dirname("/a/b/c")
    url        = urlencode("a b&c/d")
    b64        = base64encode("hi there")
    unb64      = base64decode("aGk=")
    md5        = md5("a")
    sha1       = sha1("a")
    uuid       = uuidv5("dns", "example.org")
    sha256     = sha256("a")
    sha512     = sha512("a")
    json       = jsonencode({ b = [1, true, null, "x<"], a = { c = 1.5 } })
    unjson     = jsondecode("{\"a\": [1, \"two\"]}").a[1]
    csv        = csvdecode("a,b\n1,2\n3,4\n")[1].b
  }
}
