"""Speaks http-stream: says in a file that it ran, then answers with what can be foretold, fails, answers at length, or
takes its time."""

import os
import socket
import time

ran = os.open(os.environ["RAN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
server = socket.socket(socket.AF_UNIX)
server.bind(os.environ["FN_LISTENER"].removeprefix("unix:"))
server.listen()


def receive(stream):
    """The payload of the next request, which comes in chunks; None when the connection ends."""
    if not stream.readline():
        return None
    while stream.readline() not in (b"\r\n", b""):
        pass
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return int(body)


def answer(n):
    # Sleep, not work: the workers' eight slots are busy for longer than a few blows on a fast machine too.
    time.sleep(2.5 if n % 1000 == 501 else 0.1)
    if n % 20 == 3:
        return 502, b'{"message": "refused %d"}' % n
    if n % 50 == 7:
        return 200, b"%020000d" % n
    return 200, b"%d\n" % (n * 7 + 3)


while True:
    connection, _ = server.accept()
    with connection, connection.makefile("rwb") as stream:
        while (n := receive(stream)) is not None:
            os.write(ran, b".")
            status, body = answer(n)
            stream.write(b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
            stream.flush()
