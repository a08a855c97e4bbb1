"""The configurations of proxies in `src/GUIDE.md`, with the ports of the test: clients connect, and admin paths are hidden.

`test_proxies.py` runs the same configurations for the addresses of the clients.
"""

import re
import socket
import unittest
from typing import NamedTuple

from support import LIMIT, ROOT, Server, request, status, upgrade_head
from test_exposure import CADDY, NGINX, TEXT_FRAME, proxy

SITE = {"Host": "example.com", "Origin": "https://example.com"}


def block(language):
    """Returns the only block of this language in the guide, as a template."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "src/GUIDE.md").read_text(), re.DOTALL | re.MULTILINE)
    (text,) = blocks
    return text.replace("{", "{{").replace("}", "}}")


def replaced(text, *pairs):
    for old, new in pairs:
        assert text.count(old) == 1, f"{old!r} is not once in {text!r}"
        text = text.replace(old, new)
    return text


FLAGS = ["--origin", "https://example.com", "--admin-listen", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1"]

NGINX_STREAM = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
stream {{
BLOCK
}}
"""


class Setup(NamedTuple):
    """A proxy and the server behind it, as the guide describes them."""

    program: str
    text: str
    flags: list


def setups():
    """Returns each setup by its name. What the guide leaves out, or cannot know, comes from the test."""
    server = ("127.0.0.1:9000", "127.0.0.1:{server}")
    bind = ("bind :443 ssl crt /etc/haproxy/example.com.pem", "bind 127.0.0.1:{port}")
    location = replaced(block("nginx"), server)
    nginx = re.sub(r"# https.*?\}\}\n", lambda _: location, NGINX, count=1, flags=re.DOTALL)
    nginx = nginx.replace("worker_connections 64", "worker_connections 512")
    haproxy = replaced(block("haproxy"), server, bind)
    caddy = replaced(block("caddy"), server, ("example.com {{", "http://:{port} {{\n    bind 127.0.0.1"))
    tcp = replaced(block("haproxy-tcp"), server, bind)
    stream = replaced(block("nginx-stream"), server, ("listen 443 ssl", "listen 127.0.0.1:{port}"))
    stream = re.sub(r"^ *ssl_certificate.*\n", "", stream, flags=re.MULTILINE)
    return {
        "nginx": Setup("nginx", nginx, FLAGS),
        "HAProxy": Setup("HAProxy", haproxy, FLAGS),
        "Caddy": Setup("Caddy", CADDY[: CADDY.index("http://")] + caddy, FLAGS),
        "HAProxy, PROXY v2": Setup("HAProxy", tcp, [*FLAGS, "--proxy-protocol"]),
        "nginx stream, PROXY v1": Setup("nginx", NGINX_STREAM.replace("BLOCK", stream), [*FLAGS, "--proxy-protocol"]),
    }


class Guide(unittest.TestCase):
    def test_configurations_of_the_guide_serve_the_site(self):
        for name, setup in setups().items():
            with self.subTest(name), Server(*setup.flags) as server:
                with proxy(setup.program, server.port, setup.text) as port:
                    self.echo(port)
                    self.assertEqual(request(port, "GET", "/", SITE)[0], 200)
                    self.assertEqual(request(port, "GET", "/metrics", SITE)[0], 404)
                    self.assertEqual(request(port, "POST", "/publish/t", SITE, b"x")[0], 404)
                    foreign = {**SITE, "Origin": "https://elsewhere.example"}
                    self.assertEqual(request(port, "GET", "/topics/t/presence", foreign)[0], 403)

    def echo(self, port):
        """Sends a message to the echo, and checks that it comes back."""
        with socket.create_connection(("127.0.0.1", port), LIMIT) as stream:
            stream.sendall(upgrade_head(port, "/echo", SITE))
            answer = b""
            while b"\r\n\r\n" not in answer and (part := stream.recv(4096)):
                answer += part
            self.assertEqual(status(answer), 101, answer)
            stream.sendall(TEXT_FRAME)
            frame = answer.partition(b"\r\n\r\n")[2]
            while len(frame) < 7 and (part := stream.recv(7 - len(frame))):
                frame += part
            self.assertEqual(frame, b"\x81\x05hello")


if __name__ == "__main__":
    unittest.main()
