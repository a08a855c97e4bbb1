#!/usr/bin/env python3
"""Python `websockets` against a running standpipe's /echo:  websockets_client.py http://127.0.0.1:9000"""
import sys
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

LIMIT = 64 * 1024
results = {"passed": 0, "failed": 0}
checks = []


def check(name):
    """Registers a check; one that fails is reported, and the next one runs."""
    def register(body):
        checks.append((name, body))
        return body
    return register


def opened():
    return connect(ECHO, open_timeout=5, close_timeout=5, ping_interval=None, max_size=None)


def equal(what, actual, expected):
    if actual != expected:
        raise AssertionError(f"{what} is {short(actual)} instead of {short(expected)}")


def short(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def receive(client, what):
    try:
        return client.recv(timeout=10)
    except TimeoutError:
        raise AssertionError(f"waited 10 s for {what}") from None


def comes_back(client, message):
    client.send(message)
    equal("what came back", receive(client, f"{len(message)} back"), message)


def pong(client, data):
    if not client.ping(data).wait(timeout=5):
        raise AssertionError(f"waited 5 s for the pong of {data!r}")


def closed_with(client, what):
    """Reads on to the end: (code, reason) of the Close that the server sent."""
    try:
        while True:
            receive(client, what)
    except ConnectionClosed as end:
        if end.rcvd is None:
            raise AssertionError(f"ended without a Close instead of {what}: {end}") from None
        return end.rcvd.code, end.rcvd.reason


@check("text comes back")
def text():
    with opened() as client:
        for message in ["hello", "", "grüße, 世界 🌍", "x" * 65_535]:
            comes_back(client, message)


@check("binary comes back")
def binary():
    with opened() as client:
        for length in [0, 1, 125, 126, 65_535, LIMIT]:
            comes_back(client, b"\xa5" * length)


@check("fragments come back as one message, with a ping between them")
def fragments():
    with opened() as client:
        def pieces():
            yield "one, "
            yield ""
            pong(client, b"between")
            yield "two, "
            yield "three"
        client.send(pieces())
        equal("the message", receive(client, "the message"), "one, two, three")
        client.send(bytes([n]) for n in range(256))
        equal("the message", receive(client, "the message"), bytes(range(256)))


@check("a ping is answered with what it said")
def ping():
    with opened() as client:
        for data in [b"", b"are you there", b"p" * 125]:
            pong(client, data)


@check("1000 messages in one burst come back in order")
def burst():
    with opened() as client:
        for n in range(1000):
            client.send(f"number {n}")
        for n in range(1000):
            equal("the next", receive(client, f"number {n}"), f"number {n}")


@check("a message over the limit is answered with 1009")
def over_the_limit():
    # As much as the server still reads after its Close; beyond that it resets, and the code may be lost.
    for length in [LIMIT + 1, LIMIT + 100_000]:
        with opened() as client:
            try:
                client.send(b"\0" * length)
            except ConnectionClosed:
                pass  # The Close may come before all is sent.
            equal("the closing code", closed_with(client, "the Close with 1009")[0], 1009)


@check("a Close comes back with its code and reason")
def close():
    for code, reason in [(1000, ""), (4321, "good night, 世界"), (3000, "r" * 123)]:
        with opened() as client:
            client.close(code, reason)
            equal("the Close", closed_with(client, "the answer to our Close"), (code, reason))


def main():
    for name, body in checks:
        try:
            body()
            results["passed"] += 1
            print(f"ok      {name}", flush=True)
        except Exception as error:  # A check may fail in any way, and the next one still runs.
            results["failed"] += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{results['passed']} passed, {results['failed']} failed")
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    base = urlsplit(sys.argv[1] if len(sys.argv) == 2 else "")
    if base.scheme != "http" or not base.netloc:
        print(f"usage: {sys.argv[0]} http://127.0.0.1:9000", file=sys.stderr)
        sys.exit(2)
    ECHO = f"ws://{base.netloc}/echo"
    sys.exit(main())
