# Proves prices: `awk -f check.awk contracts.jsonl prices.jsonl`. Every contract has one row; every price lies within five
# standard errors of what Black and Scholes say it is; what has no price has a reason.

FILENAME == ARGV[1] {
    contract[++contracts] = $0
    next
}

{
    gsub(/\\"/, "\"")
    number = value("number")
    if (rows[number]++) wrong("row " number " is there twice")
    if (!(number in contract)) wrong("row " number " is of no contract")
    if (value("status") != "success") {
        if (value("error") == "" || value("error") == "null") wrong("row " number " has no price and no reason")
        without[value("status")]++
        next
    }
    row = $0
    id = value("id"); price = value("price"); error = value("error", "\"price\"")
    $0 = contract[number]
    if (value("id") != id) wrong("row " number " has the price of " id)
    expected = closed_form(value("kind"), value("spot"), value("strike"), value("rate"), value("volatility"), value("years"))
    off = (price - expected) / (error + 0.000001)
    if (off < 0) off = -off
    if (off > 5) wrong(id " costs " expected ", not " price ": " off " standard errors")
    if (off > largest) largest = off
    squares += off * off
    priced++
}

END {
    if (failed) exit 1
    for (number = 1; number <= contracts; number++) if (!(number in rows)) wrong("contract " number " has no row")
    if (failed) exit 1
    printf "%d contracts, each has one row\n", contracts
    printf "%d prices, the worst %.1f standard errors from the closed form, %.2f on average\n", priced, largest, sqrt(squares / priced)
    for (status in without) printf "%d without a price: %s\n", without[status], status
}

function closed_form(kind, spot, strike, rate, volatility, years,    spread, d) {
    spread = volatility * sqrt(years)
    d = (log(spot / strike) + rate * years) / spread + spread / 2
    if (kind == "call") return spot * normal(d) - strike * exp(-rate * years) * normal(d - spread)
    return strike * exp(-rate * years) * normal(spread - d) - spot * normal(-d)
}

# The normal distribution, by its Taylor series: exact to the last digits this close to the middle.
function normal(x,    sum, term, power) {
    sum = term = x
    for (power = 3; sum != sum + term; power += 2) {
        term *= x * x / power
        sum += term
    }
    return 0.5 + sum * exp(-x * x / 2) / 2.5066282746310002
}

# The first field of this name in the line, or the first after some text.
function value(name, after,    rest, found) {
    rest = $0
    if (after != "" && index(rest, after)) rest = substr(rest, index(rest, after))
    if (!match(rest, "\"" name "\": *(\"[^\"]*\"|[^,}]*)")) return ""
    found = substr(rest, RSTART, RLENGTH)
    sub(/^"[^"]*": */, "", found)
    gsub(/"/, "", found)
    return found
}

function wrong(what) {
    print what > "/dev/stderr"
    failed = 1
    exit 1
}
