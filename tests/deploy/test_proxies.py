"""The proxies of `src/GUIDE.md` in front of the server: the address of each client, the limits per address, long silence.

The clients have loopback addresses of their own, such as 127.0.1.7. Only 127.0.0.1 is a trusted proxy.
"""

import contextlib
import re
import socket
import struct
import threading
import time
import unittest

from support import LIMIT, Server, read_to_end, request, status, upgrade_head, wait_until
from test_exposure import proxy
from test_guide import setups

CLIENTS = 100
# What a client may write to get another address. Each proxy must make it useless.
FORGED = {"X-Forwarded-For": "198.51.100.1, 127.0.0.1", "X-Real-IP": "198.51.100.2", "Forwarded": "for=198.51.100.3"}
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class WebSocket:
    """A client of `/echo` that connects from an address of its own. `status` is that of the answer."""

    def __init__(self, port, source, headers=None):
        self.stream = socket.create_connection(("127.0.0.1", port), LIMIT, source_address=(source, 0))
        self.stream.sendall(upgrade_head(port, "/echo", {"Host": "example.com", **(headers or {})}))
        self.bytes = b""
        while b"\r\n\r\n" not in self.bytes and (part := self.stream.recv(4096)):
            self.bytes += part
        self.status = status(self.bytes)
        self.bytes = self.bytes.partition(b"\r\n\r\n")[2]

    def send(self, opcode, payload):
        """Sends a frame that is masked with zeros."""
        self.stream.sendall(struct.pack("!BBI", 0x80 | opcode, 0x80 | len(payload), 0) + payload)

    def take(self, count):
        while len(self.bytes) < count:
            part = self.stream.recv(4096)
            if not part:
                raise EOFError
            self.bytes += part
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    def frame(self):
        """Returns the next frame that is no ping. Answers pings."""
        while True:
            first, length = self.take(2)
            payload = self.take(length)
            if first & 15 != PING:
                return first & 15, payload
            self.send(PONG, payload)

    def echo(self, text):
        self.send(TEXT, text)
        return self.frame()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()


@contextlib.contextmanager
def running(setup, *flags, text=None):
    """Starts the server of a setup and its proxy. Yields the server, its admin port, and the port of the proxy."""
    with Server(*setup.flags, *flags) as server:
        admin = int(re.search(r"http://\S+?:(\d+)/ \(admin\)", server.log())[1])
        with proxy(setup.program, server.port, text or setup.text) as port:
            yield server, admin, port


def peers(admin):
    """Returns the address of each client in `/debug/clients`."""
    answer = request(admin, "GET", "/debug/clients")[1].decode()
    return re.findall(r"\b(127\.0\.[01]\.\d+)\b", answer.partition("\r\n\r\n")[2])


class Proxies(unittest.TestCase):
    def test_hundred_clients_keep_their_addresses(self):
        for name, setup in setups().items():
            with self.subTest(name), running(setup, "-v", "--max-clients-per-ip", "2") as (server, admin, port), contextlib.ExitStack() as stack:
                sources = [f"127.0.1.{n}" for n in range(1, CLIENTS + 1)]
                clients = [stack.enter_context(WebSocket(port, source)) for source in sources]
                self.assertEqual({client.status for client in clients}, {101}, name)
                for n, client in enumerate(clients):
                    self.assertEqual(client.echo(b"%d" % n), (TEXT, b"%d" % n))
                self.assertEqual(sorted(peers(admin)), sorted(sources))
                logged = lambda: all(re.search(rf" {re.escape(source)}(:\d+)? opened", server.log()) for source in sources)
                wait_until("the log has every address", logged)

    def test_limits_count_each_client(self):
        for name, setup in setups().items():
            with self.subTest(name), running(setup, "--max-clients-per-ip", "3") as (server, admin, port), contextlib.ExitStack() as stack:
                for source in ("127.0.0.7", "127.0.0.8"):
                    clients = [stack.enter_context(WebSocket(port, source, FORGED)) for _ in range(5)]
                    self.assertEqual([client.status for client in clients], [101] * 3 + [503] * 2, (name, source, server.log()))
                self.assertEqual(sorted(peers(admin)), ["127.0.0.7"] * 3 + ["127.0.0.8"] * 3)
                self.assertNotIn("198.51.100", server.log())

    def test_connect_rate_counts_each_client(self):
        for name, setup in setups().items():
            with self.subTest(name), running(setup, "--connect-rate", "1/s:5") as (_, _, port):
                for source in ("127.0.0.7", "127.0.0.8"):
                    codes = [self.ask(port, source) for _ in range(30)]
                    self.assertEqual(codes[:5], [200] * 5, (name, source))
                    self.assertGreater(codes.count(503), 15, (name, source, codes))

    def ask(self, port, source):
        """Sends a plain request from this address. Returns the status, or None without an answer."""
        head = b"GET / HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
        with socket.create_connection(("127.0.0.1", port), LIMIT, source_address=(source, 0)) as stream:
            stream.sendall(head)
            return status(read_to_end(stream))

    def test_silent_client_outlasts_the_timeouts_of_the_proxy(self):
        for name, setup in setups().items():
            text = setup.text.replace("60s", "1s")
            with self.subTest(name), running(setup, "--ping-interval", "300ms", text=text) as (_, _, port), WebSocket(port, "127.0.0.7") as client:
                self.assertEqual(client.echo(b"before"), (TEXT, b"before"))
                # A reader that answers pings, and sends nothing else for four timeouts.
                received = []
                reader = threading.Thread(target=lambda: received.append(client.frame()))
                reader.start()
                time.sleep(4)  # The silence is what this test is about.
                self.assertEqual(received, [], name)
                client.send(TEXT, b"after")
                reader.join(LIMIT)
                self.assertEqual(received, [(TEXT, b"after")], name)

    def test_without_pings_the_timeouts_of_the_proxy_end_a_client(self):
        # Caddy has no such timeout.
        for name, setup in setups().items():
            if "60s" not in setup.text:
                continue
            text = setup.text.replace("60s", "1s")
            with self.subTest(name), running(setup, "--ping-interval", "1h", text=text) as (_, _, port), WebSocket(port, "127.0.0.7") as client:
                self.assertEqual(client.status, 101)
                with self.assertRaises((EOFError, ConnectionResetError), msg=name):
                    client.frame()

    def test_proxy_protocol_refuses_direct_clients(self):
        for name, setup in setups().items():
            if "--proxy-protocol" not in setup.flags:
                continue
            with self.subTest(name), running(setup) as (server, _, port):
                with WebSocket(port, "127.0.0.7") as client:
                    self.assertEqual(client.status, 101, name)
                direct = socket.create_connection(("127.0.0.1", server.port), LIMIT, source_address=("127.0.0.7", 0))
                with direct, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    direct.sendall(upgrade_head(server.port))
                    self.assertEqual(read_to_end(direct), b"", name)
                wait_until("the refusal is logged", lambda: "not a trusted proxy" in server.log())

    def test_health_checks_of_haproxy_are_answered(self):
        for name, setup in setups().items():
            if setup.program != "HAProxy":
                continue
            text = setup.text.replace("backend standpipe", "backend standpipe\n    option httpchk GET /readyz")
            text = text.replace("server a ", "default-server inter 100ms fall 1 rise 1\n    server a ").rstrip() + " check\n"
            with self.subTest(name), running(setup, "--connect-rate", "1/s:2", text=text) as (server, _, port):
                wait_until("HAProxy has checked the server", lambda: self.ask(port, "127.0.0.9") == 200)
                time.sleep(2)  # 20 checks, more than the rate of a client.
                self.assertEqual(self.ask(port, "127.0.0.8"), 200, (name, server.log()))
                self.assertNotIn("connect rate exceeded", server.log(), name)


if __name__ == "__main__":
    unittest.main()
