"""A function on Fn's FDK for Python, as PyPI has it. Its first word says what it does."""

import io
import json
import os
import sys
import time

from fdk import response

calls = 0


def handler(ctx, data: io.BytesIO = None):
    global calls
    calls += 1
    body = data.getvalue()
    word = body.split(b" ", 1)[0].decode("utf-8", "replace")
    print("call", calls, "says", word, flush=True)
    print("to stderr", file=sys.stderr, flush=True)
    if word == "count":
        answer = str(calls)
    elif word == "echo":
        return response.Response(ctx, response_data=body, headers={"Content-Type": "application/octet-stream"})
    elif word == "about":
        answer = json.dumps(
            {
                "call": ctx.CallID(),
                "attempt": ctx.Headers().get("afn-attempt"),
                "greeting": ctx.Config().get("GREETING"),
                "user": os.getuid(),
            }
        )
    elif word == "raise":
        raise ValueError("no such user: 7")
    elif word == "sleep":
        time.sleep(100)
    elif word == "exit":
        os._exit(7)
    elif word == "eat":
        answer = len(bytearray(512 * 1024 * 1024))
    elif word == "large":
        return response.Response(ctx, response_data=b"x" * (20 * 1024 * 1024), headers={"Content-Type": "text/plain"})
    elif word == "chatter":
        sys.stdout.write("y" * (2 * 1024 * 1024) + "\n")
        sys.stdout.flush()
        answer = "said"
    else:
        answer = "unknown: " + word
    return response.Response(ctx, response_data=str(answer), headers={"Content-Type": "text/plain"})
