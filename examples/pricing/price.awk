# Prices one European option by Monte Carlo: a contract as JSON on stdin, its price as JSON on stdout.

{ contract = contract $0 }

END {
    id = text("id")
    serial = substr(id, 2) + 0
    # What a market does now and then: it works a moment later.
    if (serial % 37 == 5 && ENVIRON["AFN_ATTEMPT"] < 2) fail(75, "quote feed busy")

    spot = number("spot"); strike = number("strike"); rate = number("rate")
    volatility = number("volatility"); years = number("years"); paths = number("paths")
    if (volatility < 0) fail(65, "volatility is negative")

    seed = serial * 7919 + 1
    drift = (rate - volatility * volatility / 2) * years
    spread = volatility * sqrt(years)
    discount = exp(-rate * years)
    sign = text("kind") == "call" ? 1 : -1
    for (path = 0; path < paths; path += 2) {
        radius = sqrt(-2 * log(random()))
        angle = 6.283185307179586 * random()
        take(radius * cos(angle))
        take(radius * sin(angle))
    }
    price = sum / path
    error = sqrt((squares / path - price * price) / path)
    printf "{\"id\":\"%s\",\"price\":%.6f,\"error\":%.6f,\"paths\":%d}\n", id, price, error, path
}

# One path and its mirror image, which has the opposite luck.
function take(z,    payoff) {
    payoff = discount * (gain(z) + gain(-z)) / 2
    sum += payoff
    squares += payoff * payoff
}

function gain(z,    value) {
    value = sign * (spot * exp(drift + spread * z) - strike)
    return value > 0 ? value : 0
}

# Lehmer's generator: the same numbers in every awk, above 0 and below 1.
function random() {
    seed = seed * 16807 % 2147483647
    return seed / 2147483647
}

function fail(code, why) {
    print why > "/dev/stderr"
    exit code
}

function number(name) {
    return value(name) + 0
}

function text(name,    found) {
    found = value(name)
    return substr(found, 2, length(found) - 2)
}

# A field of a flat JSON object.
function value(name) {
    if (!match(contract, "\"" name "\": *(\"[^\"]*\"|[-+.0-9eE]+)")) fail(65, "there is no " name)
    found = substr(contract, RSTART, RLENGTH)
    sub(/^"[^"]*": */, "", found)
    return found
}
