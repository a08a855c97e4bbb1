"""HTTP as other programs speak it: curl, and nginx that keeps its connections to the server."""

import os
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import LIMIT, Program, Server, accepts, free_port, read_to_end, request, status, wait_until


def curl(*arguments, body=None):
    """Runs curl. Returns its exit code and its standard output."""
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", *arguments]
    ran = subprocess.run(command, input=body, capture_output=True, timeout=LIMIT)
    return ran.returncode, ran.stdout.decode()


class Curl(unittest.TestCase):
    def setUp(self):
        keys = tempfile.NamedTemporaryFile("w", suffix=".keys")
        self.addCleanup(keys.close)
        keys.write("key\n")
        keys.flush()
        self.server = Server("--topic", "t:history=10", "--publish-key-file", keys.name)
        self.addCleanup(self.server.log_file.close)
        self.addCleanup(self.server.stop)
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.key = ("--header", "Authorization: Bearer key", "--header", "Content-Type: text/plain")

    def test_curl_reuses_its_connection(self):
        show = ("--write-out", "%{num_connects} %{http_code}\n", "--output", os.devnull)
        code, out = curl(*show, f"{self.url}/healthz", "--next", *show, f"{self.url}/readyz", "--next", *show, f"{self.url}/")
        self.assertEqual((code, out), (0, "1 200\n0 200\n0 200\n"))

    def test_chunked_body_is_published(self):
        chunked = ("--header", "Transfer-Encoding: chunked", "--data-binary", "@-")
        code, out = curl(*self.key, *chunked, f"{self.url}/publish/t", body=b"from a pipe")
        self.assertEqual(code, 0, out)
        _, history = curl(*self.key, f"{self.url}/topics/t/history")
        self.assertIn('"data":"from a pipe"', history)

    def test_curl_sees_the_413_of_a_large_body(self):
        for framing in ("Transfer-Encoding: chunked", "Expect:"):
            show = ("--header", framing, "--write-out", "%{http_code}", "--output", os.devnull)
            for _ in range(5):
                code, out = curl(*self.key, *show, "--data-binary", "@-", f"{self.url}/publish/t", body=b"x" * 5_000_000)
                self.assertEqual((code, out), (0, "413"), framing)

    def test_encoded_body_gets_415(self):
        _, answer = request(
            self.server.port,
            "POST",
            "/publish/t",
            {"Authorization": "Bearer key", "Content-Encoding": "gzip"},
            b"\x1f\x8b",
        )
        self.assertEqual(status(answer), 415)
        self.assertIn(b"\r\nAccept-Encoding: identity\r\n", answer)


class Nginx(unittest.TestCase):
    """nginx sends the requests of many clients over few connections, and so relies on the ends of all bodies."""

    CONFIG = """
        daemon off; pid {dir}/pid; error_log stderr; worker_processes 1;
        events {{ worker_connections 64; }}
        http {{
            access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
            uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
            upstream standpipe {{ server 127.0.0.1:{server}; keepalive 4; }}
            server {{
                listen 127.0.0.1:{port};
                location / {{
                    proxy_pass http://standpipe; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_request_buffering off; proxy_set_header Host localhost;
                }}
            }}
        }}
    """

    def test_nginx_reuses_connections_without_mixing_answers(self):
        with tempfile.TemporaryDirectory() as directory, Server("-v") as server:
            port = free_port()
            config = Path(directory) / "nginx.conf"
            config.write_text(self.CONFIG.format(dir=directory, server=server.port, port=port))
            with Program(["nginx", "-p", directory, "-c", config]):
                wait_until("nginx listens", lambda: accepts(port))
                hidden = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
                chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)
                chunked = {"Transfer-Encoding": "chunked", "Host": "localhost"}
                for _ in range(40):
                    self.assertEqual(request(port, "GET", "/healthz")[1].rpartition(b"\r\n")[2], b"ok\n")
                    # Bodies that nobody reads: a small one, a chunked one and a large one, with a request inside.
                    self.assertEqual(request(port, "POST", "/healthz", body=hidden)[0], 405)
                    self.assertEqual(self.raw(port, "/healthz", chunked, chunk), 405)
                    self.assertEqual(request(port, "POST", "/nothing", body=hidden * 3000)[0], 404)
                    self.assertEqual(request(port, "GET", "/nothing")[0], 404)

    def raw(self, port, path, headers, body):
        head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items())
        with socket.create_connection(("127.0.0.1", port), LIMIT) as stream:
            stream.sendall(head.encode() + b"Connection: close\r\n\r\n" + body)
            return status(read_to_end(stream))


if __name__ == "__main__":
    unittest.main()
