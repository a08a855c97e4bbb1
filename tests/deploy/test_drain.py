"""A rolling restart behind HAProxy: one of two servers drains while clients connect all the time.

HAProxy asks for /readyz every 100 ms. The drain delay is longer than the two failed checks after which HAProxy sends no
more clients to the server.
"""

import collections
import contextlib
import socket
import tempfile
import threading
import time
import unittest

from support import Program, Server, accepts, free_port, read_to_end, request, status, upgrade_head, wait_until

CONFIG = """
global
    stats socket {directory}/stats.sock
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 60s
frontend public
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    balance roundrobin
    option httpchk GET /readyz
    default-server inter 100ms fall 2 rise 1
    server a 127.0.0.1:{a} check
    server b 127.0.0.1:{b} check
"""
PER_SECOND = 20
# A handshake that waits for a server that does not answer takes up to 5 s.
SLOW = 2.0


def handshake(port, kept=None):
    """Makes one opening handshake. Returns its status and its duration. `kept` gets the open socket."""
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            stream.sendall(upgrade_head(port))
            head = b""
            while b"\r\n\r\n" not in head and (part := stream.recv(4096)):
                head += part
        except OSError as error:
            return type(error).__name__, time.monotonic() - begin
        took = time.monotonic() - begin
        if kept is not None:
            kept.append(stream)
            stack.pop_all()
    return status(head), took


class Clients:
    """Makes handshakes at a fixed rate, on threads of their own, until the end of the `with` block."""

    def __init__(self, port):
        self.port, self.results, self.stop = port, [], threading.Event()

    def run(self):
        threads = []
        while not self.stop.wait(1 / PER_SECOND):
            threads.append(threading.Thread(target=lambda: self.results.append(handshake(self.port))))
            threads[-1].start()
        for thread in threads:
            thread.join(15)

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(30)

    def summary(self):
        return dict(collections.Counter(result for result, _ in self.results))


class Drain(unittest.TestCase):
    def haproxy(self, a, b):
        directory = self.enterContext(tempfile.TemporaryDirectory())
        port = free_port()
        path = f"{directory}/haproxy.cfg"
        with open(path, "w") as file:
            file.write(CONFIG.format(directory=directory, port=port, a=a.port, b=b.port))
        proxy = self.enterContext(Program(["haproxy", "-db", "-f", path]))
        wait_until("HAProxy listens", lambda: accepts(port))
        ready = lambda: all(server["status"] == "UP" for server in self.servers(directory))
        wait_until("HAProxy has checked both servers", ready)
        self.addCleanup(lambda: self.assertIsNone(proxy.process.poll(), proxy.log()))
        return port, directory

    def silent_client(self, port):
        """Connects a client that reads nothing after its 101, and does not close."""
        kept = []
        self.assertEqual(handshake(port, kept)[0], 101)
        self.addCleanup(kept[0].close)

    def servers(self, directory):
        """Returns what HAProxy knows about the servers of the backend."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(f"{directory}/stats.sock")
            stream.sendall(b"show stat\n")
            lines = read_to_end(stream).decode().removeprefix("# ").splitlines()
        rows = [dict(zip(lines[0].split(","), line.split(","))) for line in lines[1:] if line]
        return [row for row in rows if row["pxname"] == "servers" and row["svname"] in ("a", "b")]

    def test_no_handshake_fails_while_one_server_drains(self):
        a = self.enterContext(Server("--drain-delay", "1s", "--shutdown-timeout", "3s", "--close-timeout", "1m"))
        b = self.enterContext(Server())
        port, directory = self.haproxy(a, b)
        # This client answers no Close. It is connected directly, because HAProxy would end its connection for it.
        self.silent_client(a.port)
        for _ in range(4):
            self.silent_client(port)
        with Clients(port) as clients:
            wait_until("handshakes succeed", lambda: len(clients.results) >= PER_SECOND)
            begin = time.monotonic()
            a.signal()
            ready = lambda: request(a.port, "GET", "/readyz")[0]
            wait_until("/readyz answers 503 during the drain delay", lambda: ready() == 503)
            down = lambda: {row["svname"]: row["status"] for row in self.servers(directory)}["a"] == "DOWN"
            wait_until("HAProxy has noticed the drain", down)
            self.assertEqual(a.wait(), 0, a.log())
            took = time.monotonic() - begin
            last = len(clients.results)
            wait_until("clients connected after the end", lambda: len(clients.results) >= last + PER_SECOND)
        self.assertIn("lost 1", a.log())
        # The client that ignored its Close was waited for, so handshakes were made during every step.
        self.assertGreaterEqual(took, 1 + 3 - 0.1)
        self.assertEqual(set(clients.summary()), {101}, clients.summary())
        slow = [took for _, took in clients.results if took > SLOW]
        self.assertEqual(slow, [], f"slow handshakes of {len(clients.results)}")

    def test_newcomers_are_refused_and_a_successor_binds_the_port(self):
        old = self.enterContext(Server("--shutdown-timeout", "2s"))
        self.silent_client(old.port)
        old.signal()
        wait_until("the port is closed", lambda: not accepts(old.port))
        self.assertEqual(handshake(old.port)[0], "ConnectionRefusedError")
        successor = self.enterContext(Server(listen=(f"127.0.0.1:{old.port}",)))
        self.assertIsNone(old.process.poll(), "the old server still waits for its client")
        self.assertEqual(handshake(successor.port)[0], 101)
        self.assertEqual(old.wait(), 0, old.log())
        self.assertEqual(handshake(successor.port)[0], 101)


if __name__ == "__main__":
    unittest.main()
