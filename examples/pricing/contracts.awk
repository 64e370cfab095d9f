# Makes contracts.jsonl: `awk -f contracts.awk > contracts.jsonl`. The same 2,000 contracts in every awk.

BEGIN {
    seed = 20250101
    for (serial = 1; serial <= 2000; serial++) {
        spot = 50 + 100 * random()
        volatility = 0.1 + 0.4 * random()
        years = 0.1 + 1.9 * random()
        # Within one and a half standard deviations of the spot.
        strike = spot * exp((3 * random() - 1.5) * volatility * sqrt(years))
        rate = 0.01 + 0.04 * random()
        kind = random() < 0.5 ? "call" : "put"
        # Most are quick, a few take a hundred times as long.
        paths = 600 * int(5 * exp(4.6 * random() ^ 2))
        # Typing errors: seven that cannot be priced, and one that would take a day.
        if (serial % 283 == 100) volatility = -volatility
        if (serial == 1066) paths = 100000000000
        printf "{\"id\":\"C%04d\",\"kind\":\"%s\",\"spot\":%.2f,\"strike\":%.2f,\"rate\":%.4f,\"volatility\":%.4f,\"years\":%.3f,\"paths\":%.0f}\n",
            serial, kind, spot, strike, rate, volatility, years, paths
    }
}

function random() {
    seed = seed * 16807 % 2147483647
    return seed / 2147483647
}
