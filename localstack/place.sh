# shellcheck shell=sh
# What up, down and status share: where things lie, and how to tell whether LocalStack runs. Read by them with `.`.

here=$(cd "$(dirname "$0")" && pwd)
place=${CARGO_TARGET_DIR:-$here/../target}/localstack
mkdir -p "$place"
place=$(cd "$place" && pwd)
python=$place/venv/bin/python
services=cloudformation,iam,s3,sqs,ssm,sts

# Asks a URL with what any Debian has; nothing on stdout when it does not answer.
fetch() {
    if command -v curl >/dev/null; then
        curl --silent --max-time 5 --noproxy '*' "$1" || true
    else
        python3 - "$1" <<'PYTHON' || true
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    print(opener.open(sys.argv[1], timeout=5).read().decode())
except OSError:
    pass
PYTHON
    fi
}

# Whether a LocalStack with all our services answers at the port.
answers() {
    health=$(fetch "http://127.0.0.1:$1/_localstack/health")
    for service in $(echo "$services" | tr , ' '); do
        case $health in
        *"\"$service\": \"running\""* | *"\"$service\": \"available\""*) ;;
        *) return 1 ;;
        esac
    done
}

# Whether anything listens at the port.
occupied() {
    python3 -c 'import socket, sys; sys.exit(socket.socket().connect_ex(("127.0.0.1", int(sys.argv[1]))) != 0)' "$1"
}

# Whether other machines can reach the port: whether anything listens at it beside 127.0.0.1.
exposed() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v port="$(printf ':%04X' "$1")" '
            $4 == "0A" && substr($2, length($2) - 4) == port && $2 !~ /^0100007F:/ { found = 1 }
            END { exit !found }'
}

# When a process began, in ticks since the machine did: with its number, its identity from its first moment on, whatever
# it executes. Nothing when it has ended.
born() {
    sed -n 's/^.*) [^XZ] //p' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 19
}

# Whether the process that `up` started is still there, and no other under its number. Sets its pid and port.
started_here() {
    [ -f "$place/started" ] || return 1
    read -r pid started_port since <"$place/started"
    [ -n "$since" ] && [ "$(born "$pid")" = "$since" ]
}

# Ends what `up` started.
end_started() {
    started_here || return 0
    kill "$pid" 2>/dev/null || true
    waited=0
    while started_here; do
        [ $waited -ne 40 ] || kill -9 "$pid" 2>/dev/null || true
        sleep 0.25
        waited=$((waited + 1))
    done
    rm -f "$place/started"
}

# The pinned packages, in a virtual environment of their own. Once: until the pins change.
install() {
    pins=$(sha256sum <"$here/pins.txt")
    [ "$(cat "$place/venv/pins" 2>/dev/null)" = "$pins" ] && return
    echo "installing LocalStack 4.13.1 into $place/venv (about 190 MB)" >&2
    rm -rf "$place/venv"
    if ! python3 -m venv "$place/venv" 2>/dev/null; then
        if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
            echo "error: python3 cannot make virtual environments" >&2
            echo "hint: sudo apt-get install python3-venv" >&2
            exit 1
        fi
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3-venv >&2
        python3 -m venv "$place/venv"
    fi
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/pins.txt"
    echo "$pins" >"$place/venv/pins"
}
