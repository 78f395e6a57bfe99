target "default" {
  args = {
    add      = add(1, 2)
    subtract = subtract(5, 2.5)
    multiply = multiply(3, 4)
    divide   = divide(7, 2)
    third    = 1 / 4
    modulo   = modulo(7, 3)
    negate   = negate(3)
    absolute = absolute(-3)
    ceil     = ceil(1.2)
    floor    = floor(-1.2)
    int      = int(1.9)
    log      = log(8, 2)
    max      = max(1, 5, 3)
    min      = min(4, 2)
    pow      = pow(2, 10)
    signum   = signum(-7)
    parseint = parseint("ff", 16)
    equal    = equal("a", "a")
    notequal = notequal(1, 2)
    and      = and(true, false)
    or       = or(true, false)
    not      = not(true)
    greater  = greaterthan(2, 1)
    greatereq = greaterthanorequalto(1, 1)
    less     = lessthan(2, 1)
    lesseq   = lessthanorequalto(1, 1)
    can      = can(parseint("x", 10))
    formatdate = formatdate("YYYY-MM-DD'T'hh:mm:ssZ EEE MMM D h:m:s AA", "2024-02-03T04:05:06Z")
    timeadd  = timeadd("2024-02-03T04:05:06Z", "1h30m")
    try      = try(parseint("x", 10), "fallback")
    convert  = convert("5", number) + 1
    big      = 123456789 * 1000
    tern     = 5 > 3 && !(1 >= 2) ? "yes" : "no"
    mixed    = true ? 1 : "x"
    neg      = -(2 + 3) * 2 % 7
    strnum   = "5" + 1
    eqmixed  = "1" == 1
  }
}
