# Runs one call: the payload comes on stdin, the answer goes to stdout, the log to stderr. An exit code other than 0
# fails the call. FN_CALL_ID names the call, AFN_ATTEMPT counts its attempts.

name=$(cat)
echo "greeting ${name:=World}" >&2
echo "Hello $name"
