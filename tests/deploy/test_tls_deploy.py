"""A server with TLS behind proxies, with a socket of systemd, and at its end.

HAProxy and nginx pass TCP on, with the PROXY protocol, so that TLS is between the client and the server. They also
speak TLS with the server themselves.
"""

import contextlib
import re
import socket
import ssl
import struct
import tempfile
import time
import unittest

from raw_client import TEXT, WebSocket
from support import KEYS, LIMIT, STANDPIPE, TLS_FLAGS, Program, Server, accepts, connect, free_port, read_to_end, request
from support import status, tls_context, upgrade_head, wait_until
from test_exposure import NGINX, proxy
from test_guide import NGINX_STREAM
from test_tls import VERSIONS

HAPROXY_TCP = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    default-server inter 100ms
    server s 127.0.0.1:{server} send-proxy-v2 check check-send-proxy
"""

NGINX_TCP = NGINX_STREAM.replace(
    "BLOCK",
    """    server {{
        listen 127.0.0.1:{port};
        proxy_pass 127.0.0.1:{server};
        proxy_protocol on;
    }}""",
)

HAPROXY_TLS = """
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    option forwardfor
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    option httpchk GET /readyz
    http-check send hdr Host localhost
    default-server inter 100ms fall 1 rise 1
    server s 127.0.0.1:{server} ssl verify required ca-file CA sni str(localhost) verifyhost localhost check
""".replace("CA", str(KEYS / "ca.pem"))

NGINX_TLS = NGINX.replace(
    "proxy_pass http://127.0.0.1:{server};",
    f"""proxy_pass https://127.0.0.1:{{server}};
            proxy_ssl_trusted_certificate {KEYS / "ca.pem"};
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;""",
)


class Proxies(unittest.TestCase):
    def peers(self, server):
        """Returns the addresses of the clients in `/debug/clients`, which has TLS too."""
        port = int(re.search(r"https://\S+?:(\d+)/ \(admin\)", server.log())[1])
        answer = request(port, "GET", "/debug/clients", context=tls_context())[1].decode()
        return re.findall(r"\b(127\.0\.0\.\d+)\b", answer.partition("\r\n\r\n")[2])

    def run_behind(self, program, text, context, *flags):
        admin = ["--admin-listen", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1"]
        with Server(*TLS_FLAGS, *admin, *flags, "-v") as server, proxy(program, server.port, text) as port:
            self.check_ready(port, context)
            with contextlib.ExitStack() as stack:
                clients = []
                for n in range(7, 10):
                    stream = stack.enter_context(connect(port, context, f"127.0.0.{n}"))
                    stream.sendall(upgrade_head(port, "/echo", {"Host": "localhost"}))
                    clients.append(stream)
                    self.assertEqual(status(stream.recv(4096)), 101, (program, server.log()))
                    stream.sendall(b"\x81\x85\0\0\0\0hello")
                    self.assertEqual(stream.recv(4096), b"\x81\x05hello")
                self.assertEqual(sorted(self.peers(server)), ["127.0.0.7", "127.0.0.8", "127.0.0.9"])
            # Health checks connect and say nothing, or send a PROXY header of their own. The start may warn of the key file.
            warnings = [line for line in server.log().splitlines() if "WARN" in line and "--tls-key" not in line]
            self.assertEqual(warnings, [])
            self.assertEqual(server.stop(), 0, server.log())

    def check_ready(self, port, context):
        """HAProxy answers 503, or ends the connection, until its first check has succeeded."""

        def is_ready():
            with contextlib.suppress(OSError):
                return request(port, "GET", "/healthz", {"Host": "localhost"}, context=context)[0] == 200
            return False

        wait_until("the proxy passes requests on", is_ready)

    def test_haproxy_passes_tls_on_with_proxy_v2(self):
        for version in VERSIONS.values():
            self.run_behind("HAProxy", HAPROXY_TCP, tls_context(version), "--proxy-protocol")

    def test_nginx_passes_tls_on_with_proxy_v1(self):
        self.run_behind("nginx", NGINX_TCP, tls_context(), "--proxy-protocol")

    def test_haproxy_speaks_tls_with_the_server(self):
        self.run_behind("HAProxy", HAPROXY_TLS, None)

    def test_nginx_speaks_tls_with_the_server(self):
        self.run_behind("nginx", NGINX_TLS, None)


class HalfHandshake:
    """A TLS client that has sent the beginning of its ClientHello, and sends the rest on demand."""

    def __init__(self, port):
        self.stream = socket.create_connection(("127.0.0.1", port), LIMIT)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = tls_context().wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.hello = self.outgoing.read()
        self.stream.sendall(self.hello[:50])

    def step(self, action):
        """Repeats the action of the TLS session until it needs no more bytes."""
        while True:
            try:
                result = action()
                self.stream.sendall(self.outgoing.read())
                return result
            except ssl.SSLWantReadError:
                self.stream.sendall(self.outgoing.read())
                part = self.stream.recv(16_384)
                self.incoming.write(part) if part else self.incoming.write_eof()

    def request(self, head):
        """Completes the handshake, sends the request, and returns the beginning of the answer."""
        self.stream.sendall(self.hello[50:])
        self.step(self.tls.do_handshake)
        self.step(lambda: self.tls.write(head))
        return self.step(lambda: self.tls.read(4096))


class End(unittest.TestCase):
    def test_clients_see_1001(self):
        server = self.enterContext(Server(*TLS_FLAGS))
        contexts = [tls_context(version) for version in VERSIONS.values()]
        clients = [self.enterContext(WebSocket(server.port, "/echo", contexts[n % 2])) for n in range(20)]
        server.signal()
        for client in clients:
            opcode, payload = client.frame()
            self.assertEqual((opcode, struct.unpack("!H", payload[:2])[0]), (8, 1001))
            client.send(8, payload[:2])
            self.assertEqual(client.stream.recv(1), b"", "close_notify, or the end")
        self.assertEqual(server.wait(), 0, server.log())
        self.assertIn("drained 20, lost 0", server.log())

    def test_newcomers_are_told_503(self):
        server = self.enterContext(Server(*TLS_FLAGS, "--drain-delay", "500ms"))
        context = tls_context()
        with WebSocket(server.port, "/echo", context):
            late = HalfHandshake(server.port)
            self.addCleanup(late.stream.close)
            server.signal()
            ready = lambda: request(server.port, "GET", "/readyz", context=context)[0]
            wait_until("/readyz answers 503 during the drain delay", lambda: ready() == 503)
            wait_until("the port is closed", lambda: not accepts(server.port))
            # Its handshake began before the end of the listener.
            self.assertEqual(status(late.request(upgrade_head(server.port))), 503)
        self.assertEqual(server.wait(), 0, server.log())

    def test_half_handshake_does_not_keep_the_server(self):
        server = self.enterContext(Server(*TLS_FLAGS, "--handshake-timeout", "1s", "--shutdown-timeout", "2s"))
        stalled = HalfHandshake(server.port)
        self.addCleanup(stalled.stream.close)
        with WebSocket(server.port, "/echo", tls_context()) as client:
            self.assertEqual(client.echo(b"hello"), (TEXT, b"hello"))
        begin = time.monotonic()
        server.signal()
        self.assertEqual(server.wait(), 0, server.log())
        self.assertLess(time.monotonic() - begin, 6)


class Systemd(unittest.TestCase):
    def test_inherited_socket_speaks_tls(self):
        port = free_port()
        admin = f"{self.enterContext(tempfile.TemporaryDirectory())}/admin.sock"
        command = [STANDPIPE, "serve", "--listen", "fd:web", "--admin-listen", "fd:admin", *TLS_FLAGS]
        activate = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-l", admin, "--fdname=web:admin"]
        with Program([*activate, *command]) as server:
            wait_until("systemd-socket-activate listens", lambda: "Listening on" in server.log())
            # This client starts the server, and its ClientHello waits in the backlog until then.
            for version in VERSIONS.values():
                with WebSocket(port, "/echo", tls_context(version)) as client:
                    self.assertEqual(client.echo(b"hello"), (TEXT, b"hello"))
            with socket.socket(socket.AF_UNIX) as stream:
                stream.settimeout(LIMIT)
                stream.connect(admin)
                stream.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                self.assertEqual(status(read_to_end(stream)), 200, "the unix socket is plain")
            server.signal()
            self.assertEqual(server.wait(), 0, server.log())


if __name__ == "__main__":
    unittest.main()
