#!/bin/sh
# Greets whoever the payload names. stdin is the payload, stdout the result, stderr the log; the exit code decides.
name=$(cat)
echo "attempt ${AFN_ATTEMPT:-1} of call ${FN_CALL_ID:-?}" >&2
echo "Hello ${name:-World}, from a function that was queued, leased, run and recorded."
