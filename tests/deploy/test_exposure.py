"""What strangers may do who reach the server through a proxy on the same machine, and the command that the start prints.

The proxies have their default behaviour: nginx with the WebSocket example of its documentation, which sends the server's
own address as Host, HAProxy, which passes Host on, and Caddy, which adds X-Forwarded headers. nginx and HAProxy add no
header that tells of the proxy.
"""

import contextlib
import json
import os
import re
import socket
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import LIMIT, Program, Server, accepts, free_port, request, status, upgrade_head, wait_until

NGINX = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        # https://nginx.org/en/docs/http/websocket.html
        location / {{
            proxy_pass http://127.0.0.1:{server};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend f
    bind 127.0.0.1:{port}
    default_backend b
backend b
    server s 127.0.0.1:{server}
"""

CADDY = """
{{
    admin off
    auto_https off
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy 127.0.0.1:{server}
}}
"""

PROXIES = {
    "nginx": (NGINX, lambda path, directory: ["nginx", "-p", directory, "-e", "stderr", "-c", path]),
    "HAProxy": (HAPROXY, lambda path, directory: ["haproxy", "-db", "-f", path]),
    "Caddy": (CADDY, lambda path, directory: ["caddy", "run", "--adapter", "caddyfile", "--config", path]),
}

ADMIN = [
    ("POST", "/publish/t"),
    ("GET", "/topics"),
    ("GET", "/metrics"),
    ("GET", "/debug/clients"),
    ("GET", "/dashboard"),
    ("GET", "/dashboard/live"),
]

TEXT_FRAME = bytes([0x81, 0x85, 0, 0, 0, 0]) + b"hello"  # Masked with zeros.


@contextlib.contextmanager
def proxy(name, server):
    """Starts the proxy in front of the port `server`. Yields its port."""
    text, command = PROXIES[name]
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)  # The workers of nginx run as another user.
        path = Path(directory, "config")
        path.write_text(text.format(port=port, server=server, directory=directory))
        environment = {**os.environ, "HOME": directory, "XDG_DATA_HOME": directory, "XDG_CONFIG_HOME": directory}
        with Program(command(path, directory), env=environment) as process:
            wait_until(f"{name} accepted or ended", lambda: accepts(port) or process.process.poll() is not None)
            if process.process.poll() is not None:
                raise RuntimeError(f"{name} ended: {process.log()}")
            yield port


@contextlib.contextmanager
def server(*flags, **options):
    """Starts the server with a home directory of its own. Yields the server and that directory."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"PATH": os.environ["PATH"], "HOME": home}
        with Server(*flags, env=environment, **options) as running:
            yield running, home


def line(running, label):
    """Returns the rest of the line that the start prints with this label."""
    found = lambda: re.search(rf"^{label}: +(.*)$", running.log(), re.MULTILINE)
    wait_until(f"the line {label!r} was printed", found)
    return found()[1]


def talk(port, host):
    """Opens a WebSocket to a topic and returns the first two bytes of the echoed frame and its text, or the status."""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as stream:
        stream.sendall(upgrade_head(port, "/ws/t", {"Host": host}))
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = stream.recv(4096)
            if not part:
                return status(answer)
            answer += part
        if status(answer) != 101:
            return status(answer)
        stream.sendall(TEXT_FRAME)
        frame = answer.partition(b"\r\n\r\n")[2]
        while len(frame) < 7:
            frame += stream.recv(7 - len(frame))
        return frame


class BehindAProxy(unittest.TestCase):
    def check(self, expected, *flags):
        with server("--origin", "https://example.com", *flags) as (running, _):
            for name in PROXIES:
                with proxy(name, running.port) as port:
                    for host in ("example.com", f"127.0.0.1:{running.port}"):
                        self.check_proxy(expected, name, port, host)

    def check_proxy(self, expected, name, port, host):
        for method, path in ADMIN:
            with self.subTest(proxy=name, host=host, path=path):
                fields = {"Host": host}
                if path == "/dashboard/live":
                    head = upgrade_head(port, path, fields)
                    with socket.create_connection(("127.0.0.1", port), LIMIT) as stream:
                        stream.sendall(head)
                        answer = stream.recv(4096)
                    code = status(answer)
                else:
                    body = b"from outside" if method == "POST" else b""
                    code, answer = request(port, method, path, fields, body)
                self.assertEqual(code, expected, answer[:300])
        with self.subTest(proxy=name, host=host):
            self.assertEqual(talk(port, host), b"\x81\x05hello", "the public WebSocket works")

    def test_made_key_is_required_through_every_proxy(self):
        self.check(401)

    def test_key_of_a_file_is_required_through_every_proxy(self):
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("s3cret\n")
            keys.flush()
            self.check(401, "--publish-key-file", keys.name)

    def test_admin_listener_hides_admin_paths_from_every_proxy(self):
        self.check(404, "--admin-listen", "127.0.0.1:0")


class PrintedCommand(unittest.TestCase):
    def check(self, running):
        """Runs the printed command as a person would paste it, in another directory."""
        command = line(running, "publish")
        result = subprocess.run(["sh", "-c", command], cwd="/", capture_output=True, timeout=LIMIT, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("id", json.loads(result.stdout), command)
        return command

    def test_command_with_the_made_key_publishes(self):
        with server() as (running, home):
            key = line(running, "dashboard").partition("#key=")[2]
            command = self.check(running)
            self.assertNotIn(key, command)
            path = Path(home, ".local/state/standpipe", f"{running.port}.key")
            self.assertIn(str(path), command)
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_runtime_directory_is_preferred_for_the_key(self):
        with tempfile.TemporaryDirectory() as runtime, tempfile.TemporaryDirectory() as home:
            environment = {"PATH": os.environ["PATH"], "HOME": home, "XDG_RUNTIME_DIR": runtime}
            with Server(env=environment) as running:
                self.check(running)
                self.assertEqual(os.listdir(Path(runtime, "standpipe")), [f"{running.port}.key"])
                self.assertEqual(os.listdir(home), [])
            self.assertEqual(os.listdir(Path(runtime, "standpipe")), [])

    def test_command_with_a_key_file_publishes(self):
        for content in ("s3cret\nother\n", "\ufeff# comment\n\n  #\n \t s3cret \nother\n", "\ufeffs3cret\n"):
            with self.subTest(content), tempfile.TemporaryDirectory() as directory:
                Path(directory, "the 'keys'").write_text(content, encoding="utf-8")
                with server("--publish-key-file", "the 'keys'", cwd=directory) as (running, _):
                    command = self.check(running)
                    self.assertNotIn("s3cret", command + line(running, "dashboard"))

    def test_command_for_an_admin_listener_publishes(self):
        with server("--admin-listen", "127.0.0.1:0") as (running, _):
            self.check(running)

    def test_command_for_unix_sockets_publishes(self):
        with tempfile.TemporaryDirectory() as directory:
            flags = ["--admin-listen", "unix:admin.sock"]
            with server(*flags, cwd=directory) as (running, _):
                self.assertIn(f"--unix-socket '{directory}/admin.sock'", self.check(running))
            with server(listen=["unix:only.sock"], cwd=directory) as (running, home):
                self.check(running)
                names = os.listdir(Path(home, ".local/state/standpipe"))
                self.assertEqual(names, [f"{directory}/only.sock".replace("/", "%2F") + ".key"])


if __name__ == "__main__":
    unittest.main()
