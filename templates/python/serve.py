"""Hands calls to the function, one after another: HTTP over the unix socket that FN_LISTENER names.
Nothing here needs changing."""

import json
import os
import socket
import sys
import traceback


class Call:
    """One request to run the function."""

    def __init__(self, headers, body):
        self.id = headers.get("fn-call-id", "")  # the same for every attempt
        self.attempt = int(headers.get("afn-attempt", "1"))
        self.deadline = headers.get("fn-deadline", "")
        self.content_type = headers.get("content-type", "")
        self.headers = headers  # names in lower case
        self.body = body


def forever(handle):
    listener_url = os.environ.get("FN_LISTENER", "")
    if not listener_url.startswith("unix:"):
        sys.exit("FN_LISTENER is not set: deploy this function and call it with `afn call`")
    path = listener_url[len("unix:"):]
    # Under another name until it listens: the socket is ready when it is found.
    unready = path + ".new"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(unready)
    os.chmod(unready, 0o666)
    listener.listen()
    os.rename(unready, path)
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as stream:
            call = read(stream)
            while call is not None:
                connection.sendall(answer(handle, call))
                call = read(stream)


def read(stream):
    """The next call on a connection; None at its end."""
    if not stream.readline():
        return None
    headers = {}
    line = stream.readline().strip()
    while line:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
        line = stream.readline().strip()
    if "chunked" not in headers.get("transfer-encoding", ""):
        return Call(headers, stream.read(int(headers.get("content-length", "0"))))
    body = bytearray()
    size = int(stream.readline(), 16)
    while size:
        body += stream.read(size)
        stream.readline()
        size = int(stream.readline(), 16)
    stream.readline()
    return Call(headers, bytes(body))


def answer(handle, call):
    """Runs a call; its answer as it goes over the wire."""
    status, content_type = "200 OK", "application/octet-stream"
    try:
        result = handle(call)
        if result is None:
            result = b""
        elif isinstance(result, str):
            content_type, result = "text/plain; charset=utf-8", result.encode()
        elif not isinstance(result, (bytes, bytearray, memoryview)):
            content_type, result = "application/json", json.dumps(result).encode()
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        status, content_type, result = "502 Bad Gateway", "text/plain; charset=utf-8", reason.encode()
    # What was printed is part of this call's log only if it is out before the answer is.
    sys.stdout.flush()
    sys.stderr.flush()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(result)}\r\n\r\n"
    return head.encode() + result
