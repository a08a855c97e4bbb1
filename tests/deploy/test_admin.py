"""The admin requests as scripts send them: curl on a unix socket."""

import json
import os
import socket
import tempfile
import unittest
from pathlib import Path

from support import LIMIT, Server, upgrade_head, wait_until
from test_http import curl


class UnixSocket(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "admin.sock"
        self.server = Server("--admin-listen", f"unix:{self.path}", "--topic", "*:history=10")
        self.addCleanup(self.server.log_file.close)
        self.addCleanup(self.server.stop)

    def ask(self, path, *arguments, body=None):
        """Sends a request with curl. Returns the status and the body."""
        show = ("--unix-socket", str(self.path), "--write-out", "\n%{http_code}", *arguments)
        data = ("--data-binary", "@-") if body is not None else ()
        code, out = curl(*show, *data, f"http://localhost{path}", body=body)
        self.assertEqual(code, 0, out)
        text, _, status = out.rpartition("\n")
        return int(status), text

    def client(self, path):
        """Connects a WebSocket client on the public listener. Returns its socket, and what was read after the head."""
        stream = socket.create_connection(("127.0.0.1", self.server.port), LIMIT)
        self.addCleanup(stream.close)
        stream.sendall(upgrade_head(self.server.port, path))
        read = b""
        while b"\r\n\r\n" not in read:
            read += stream.recv(4096)
        head, _, rest = read.partition(b"\r\n\r\n")
        self.assertIn(b" 101 ", head)
        return stream, rest

    def test_curl_uses_every_admin_request_on_a_unix_socket(self):
        stream, rest = self.client("/ws/a")
        key = ("--header", "Idempotency-Key: one")
        publish = (*key, "--header", "Content-Type: application/json")
        body = json.dumps({"topics": ["a", "b"], "data": "hello"}).encode()
        status, first = self.ask("/publish", *publish, body=body)
        self.assertEqual(status, 202, first)
        self.assertEqual([row["receivers"] for row in json.loads(first)], [1, 0])
        self.assertEqual(self.ask("/publish", *publish, body=body), (202, first))
        status, topic = self.ask("/topics/a")
        self.assertEqual((status, json.loads(topic)["history"]), (200, 1))
        self.assertEqual(self.ask("/topics/a/history", "--request", "DELETE"), (204, ""))
        self.assertEqual(self.ask("/topics/a/history?limit=5"), (200, "[]"))
        number = json.loads(self.ask("/debug/clients")[1])[0]["client"]
        close = b'{"code": 4100, "reason": "bye"}'
        answer = self.ask(f"/clients/{number}/disconnect", body=close)
        self.assertEqual(answer, (202, '{"disconnected":1}'))
        while b"bye" not in rest:
            part = stream.recv(4096)
            self.assertTrue(part, rest)
            rest += part
        self.assertEqual(rest, b"\x81\x05hello\x88\x05\x10\x04bye")
        stream.close()
        wait_until("the client is gone", lambda: self.ask("/debug/clients") == (200, "[]"))
        answer = self.ask("/users/ann/disconnect", "--request", "POST")
        self.assertEqual(answer, (202, '{"disconnected":0}'))

    def test_public_listener_has_none_of_them(self):
        url = f"http://127.0.0.1:{self.server.port}"
        for path in ("publish", "topics/a", "clients/1/disconnect", "users/ann/disconnect"):
            show = ("--write-out", "%{http_code}", "--output", os.devnull)
            self.assertEqual(curl(*show, "--data", "{}", f"{url}/{path}"), (0, "404"), path)
