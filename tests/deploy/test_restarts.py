"""Restarts of a server whose socket stays with its parent process, as under systemd.

Clients connect all the time, and each of them is answered.
"""

import collections
import os
import shlex
import signal
import socket
import tempfile
import threading
import unittest

from support import LIMIT, STANDPIPE, Program, read_to_end, status, upgrade_head, wait_until

RESTARTS = 30
CLIENTS = 4


class Inheriting(Program):
    """A server whose parent passes the listening socket on as descriptor 3."""

    def __init__(self, listener):
        def pass_on():
            os.dup2(listener.fileno(), 3)
            os.set_inheritable(3, True)

        # LISTEN_PID is the process that inherits the socket, which the shell becomes.
        command = f"LISTEN_PID=$$ LISTEN_FDS=1 exec {shlex.quote(STANDPIPE)} serve --listen fd:3"
        super().__init__(["sh", "-c", command], preexec_fn=pass_on, close_fds=False)

    def wait_until_started(self):
        """Waits until the process handles SIGTERM. Until then, the signal would end it with another exit code."""

        def handles_sigterm():
            with open(f"/proc/{self.process.pid}/status") as file:
                caught = next(line for line in file if line.startswith("SigCgt:"))
            return int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1

        wait_until("the server handles SIGTERM", handles_sigterm)


class Clients:
    """Connect again and again, and count the answers by status. `what` describes an attempt without an answer."""

    def __init__(self, connect):
        self.connect, self.answers, self.stop = connect, collections.Counter(), threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(n,)) for n in range(CLIENTS)]

    def run(self, n):
        while not self.stop.is_set():
            what = self.attempt("/echo" if n % 2 else "/healthz")
            with self.lock:
                self.answers[what] += 1

    def attempt(self, path):
        try:
            with self.connect() as stream:
                if path == "/healthz":
                    stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    return status(read_to_end(stream)) or "no answer"
                stream.sendall(upgrade_head(0, path, {"Host": "localhost"}))
                return status(stream.recv(4096)) or "no answer"
        except OSError as error:
            return type(error).__name__

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(LIMIT)


class Restarts(unittest.TestCase):
    def restart(self, listener, connect):
        start = lambda: self.enterContext(Inheriting(listener))
        server = start()
        server.wait_until_started()
        with Clients(connect) as clients:
            for n in range(RESTARTS):
                wait_until("clients were answered", lambda: sum(clients.answers.values()) > 100 * n)
                server.wait_until_started()
                if n % 2:
                    # The successor serves already when the old server ends.
                    successor = start()
                    successor.wait_until_started()
                    server.signal()
                    self.assertEqual(server.wait(), 0, server.log())
                else:
                    # The old server has ended when the successor starts, so clients wait in the backlog.
                    server.signal()
                    self.assertEqual(server.wait(), 0, server.log())
                    successor = start()
                server = successor
            server.wait_until_started()
        self.assertEqual(server.stop(), 0, server.log())
        # A client that the old server has accepted when it stops may get 503.
        self.assertLessEqual(set(clients.answers), {200, 101, 503}, clients.answers)
        self.assertGreater(clients.answers[101], RESTARTS, clients.answers)
        self.assertGreater(clients.answers[200], RESTARTS, clients.answers)
        self.assertLess(clients.answers[503], RESTARTS * CLIENTS, clients.answers)

    def test_every_connection_to_an_inherited_tcp_socket_is_answered(self):
        listener = self.enterContext(socket.create_server(("127.0.0.1", 0), backlog=512))
        self.restart(listener, lambda: socket.create_connection(listener.getsockname(), LIMIT))

    def test_every_connection_to_an_inherited_unix_socket_is_answered(self):
        path = self.enterContext(tempfile.TemporaryDirectory()) + "/ws.sock"
        listener = self.enterContext(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(512)

        def connect():
            stream = socket.socket(socket.AF_UNIX)
            stream.settimeout(LIMIT)
            stream.connect(path)
            return stream

        self.restart(listener, connect)
        self.assertTrue(os.path.exists(path), "the path belongs to the parent")


if __name__ == "__main__":
    unittest.main()
