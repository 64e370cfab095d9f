# Runs one call: the payload comes on stdin, the answer goes to stdout, the log to stderr. An exit code other than 0
# fails the call. FN_CALL_ID names the call, AFN_ATTEMPT counts its attempts.

# A payload is a name, or JSON with one, or empty. Of JSON, sed finds a name without escapes: `jq -r .name` finds any.
name=$(cat)
case $name in
"{"*)
    name=$(printf %s "$name" | tr -d '\n' | sed -n 's/.*"name" *: *"\([^"\\]*\)".*/\1/p')
    if [ -z "$name" ]; then
        echo 'the payload is no name and no JSON like {"name": "Ada"}' >&2
        exit 1
    fi
    ;;
esac
echo "greeting ${name:=World}" >&2
echo "Hello $name"
