#!/usr/bin/env python3
"""Tests a running standpipe with Python `websockets`: /echo, and the client that src/PROTOCOL.md shows.

    websockets_client.py http://127.0.0.1:9000

With https:// it uses wss://, and trusts the authorities in the file SSL_CERT_FILE.

The topics need a history: --topic '*:history=100'.
"""
import json
import queue
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

MAX_MESSAGE = 64 * 1024
results = {"passed": 0, "failed": 0}
checks = []


def check(name):
    """Registers a check. A failure is reported, and the next check runs."""
    def register(body):
        checks.append((name, body))
        return body
    return register


def open_client():
    return connect(ECHO, open_timeout=5, close_timeout=5, ping_interval=None, max_size=None)


def equal(what, actual, expected):
    if actual != expected:
        raise AssertionError(f"{what} is {shortened(actual)} instead of {shortened(expected)}")


def shortened(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def receive(client, what):
    try:
        return client.recv(timeout=10)
    except TimeoutError:
        raise AssertionError(f"waited 10 s for {what}") from None


def expect_echo(client, message):
    client.send(message)
    equal("the echo", receive(client, f"the echo of {len(message)} bytes"), message)


def expect_pong(client, data):
    if not client.ping(data).wait(timeout=5):
        raise AssertionError(f"waited 5 s for the pong of {data!r}")


def closed_with(client, what):
    """Reads until the end. Returns the code and the reason of the server's Close."""
    try:
        while True:
            receive(client, what)
    except ConnectionClosed as end:
        if end.rcvd is None:
            raise AssertionError(f"ended without a Close instead of {what}: {end}") from None
        return end.rcvd.code, end.rcvd.reason


@check("text is echoed")
def text():
    with open_client() as client:
        for message in ["hello", "", "grüße, 世界 🌍", "x" * 65_535]:
            expect_echo(client, message)


@check("binary data is echoed")
def binary():
    with open_client() as client:
        for length in [0, 1, 125, 126, 65_535, MAX_MESSAGE]:
            expect_echo(client, b"\xa5" * length)


@check("fragments with a ping between them are echoed as one message")
def fragments():
    with open_client() as client:
        def pieces():
            yield "one, "
            yield ""
            expect_pong(client, b"between")
            yield "two, "
            yield "three"
        client.send(pieces())
        equal("the message", receive(client, "the message"), "one, two, three")
        client.send(bytes([n]) for n in range(256))
        equal("the message", receive(client, "the message"), bytes(range(256)))


@check("a pong answers each ping")
def ping():
    with open_client() as client:
        for data in [b"", b"are you there", b"p" * 125]:
            expect_pong(client, data)


@check("1000 messages in one burst are echoed in order")
def burst():
    with open_client() as client:
        for n in range(1000):
            client.send(f"number {n}")
        for n in range(1000):
            equal("the next message", receive(client, f"number {n}"), f"number {n}")


@check("a message that is too large is answered with 1009")
def over_the_limit():
    # After its Close the server still reads this much. With more, it resets the connection and the code may be lost.
    for length in [MAX_MESSAGE + 1, MAX_MESSAGE + 100_000]:
        with open_client() as client:
            try:
                client.send(b"\0" * length)
            except ConnectionClosed:
                pass  # The Close may arrive before everything has been sent.
            equal("the close code", closed_with(client, "the Close with 1009")[0], 1009)


@check("a Close is answered with its code and reason")
def close():
    for code, reason in [(1000, ""), (4321, "good night, 世界"), (3000, "r" * 123)]:
        with open_client() as client:
            client.close(code, reason)
            equal("the Close", closed_with(client, "the answer to our Close"), (code, reason))


class Cable:
    """Forwards connections to the server, and can break them."""
    def __init__(self, host, port):
        self.to, self.ends = (host, port), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self.to, timeout=5)
            server.settimeout(None)
            self.ends += [client, server]
            for one, other in [(client, server), (server, client)]:
                threading.Thread(target=self.forward, args=(one, other), daemon=True).start()

    @staticmethod
    def forward(one, other):
        try:
            while data := one.recv(65_536):
                other.sendall(data)
        except OSError:
            pass
        other.close()

    def break_all(self):
        for end in self.ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # It has ended already.
        self.ends = []


@check("the client of src/PROTOCOL.md resumes without loss or duplicate")
def client_of_the_document():
    document = (Path(__file__).parents[2] / "src/PROTOCOL.md").read_text(encoding="utf-8")
    source = document.split("```python\n")[1].split("```")[0]
    cable = Cable(*NETLOC)
    topics = [f"{name}-{cable.port}" for name in ["follow-a", "follow-b"]]
    arguments = [f"{SCHEME}://127.0.0.1:{cable.port}/ws", *topics]
    follow = subprocess.Popen([sys.executable, "-u", "-c", source, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    lines = queue.Queue()
    threading.Thread(target=lambda: [lines.put(line) for line in follow.stdout], daemon=True).start()

    def printed(count):
        try:
            return [json.loads(lines.get(timeout=15)) for _ in range(count)]
        except queue.Empty:
            raise AssertionError("waited 15 s for the client to print a message") from None

    def publish(publisher, topic, data):
        publisher.send(json.dumps({"pub": topic, "data": data, "ref": 1}))
        return {"topic": topic, "id": json.loads(receive(publisher, "an ack"))["id"], "data": data}

    try:
        equal("the first answers", sorted(message["ack"] for message in printed(2)), topics)
        with connect(ECHO.removesuffix("echo") + "ws", subprotocols=["standpipe.v1"], open_timeout=5) as publisher:
            for round_number in range(2):
                for topic in topics:
                    message = publish(publisher, topic, f"live {round_number}")
                    equal("the live message", printed(1), [message])
                cable.break_all()
                missed = [publish(publisher, topic, n) for topic in topics for n in range(3)]
                # Each topic has three messages and an answer. Their order is not promised.
                resumed = printed(8)
                equal("the resumed topics", sorted(one["ack"] for one in resumed if "ack" in one), topics)
                for topic in topics:
                    equal("the missed messages", [one for one in resumed if one.get("topic") == topic],
                          [one for one in missed if one["topic"] == topic])
    finally:
        follow.kill()
        follow.wait(timeout=10)
        cable.listener.close()
        cable.break_all()


def main():
    for name, body in checks:
        try:
            body()
            results["passed"] += 1
            print(f"ok      {name}", flush=True)
        except Exception as error:  # Any exception is a failure of this check only.
            results["failed"] += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{results['passed']} passed, {results['failed']} failed")
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    base = urlsplit(sys.argv[1] if len(sys.argv) == 2 else "")
    if base.scheme not in ("http", "https") or not base.netloc:
        print(f"usage: {sys.argv[0]} http://127.0.0.1:9000", file=sys.stderr)
        sys.exit(2)
    SCHEME = base.scheme.replace("http", "ws")
    ECHO = f"{SCHEME}://{base.netloc}/echo"
    NETLOC = (base.hostname, base.port or 80)
    sys.exit(main())
