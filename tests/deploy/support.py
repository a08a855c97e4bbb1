"""Starts the release binary and other programs on loopback, and ends them by their process id.

The binary is the program in the environment variable STANDPIPE, by default target/release/standpipe.
"""

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STANDPIPE = os.environ.get("STANDPIPE", str(ROOT / "target/release/standpipe"))
LIMIT = 20.0
KEYS = ROOT / "tests/keys/tls"
TLS_FLAGS = ["--tls-cert", KEYS / "server.pem", "--tls-key", KEYS / "server.key"]


def fenced(text, language):
    """Returns the blocks of code in this language in a Markdown text."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def free_port():
    """Returns a loopback port that was free a moment ago, for programs that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(what, condition, limit=LIMIT):
    """Waits until `condition()` is true. `what` says what the test waited for."""
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {limit:g} s until {what}")
        time.sleep(0.02)  # The condition is the state of another process, which sends no event.


def accepts(port):
    """Returns whether something listens on the loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Program:
    """A process whose output goes to a temporary file. The end of the `with` block ends it."""

    def __init__(self, command, **options):
        self.log_file = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=options.pop("stdout", self.log_file),
            stderr=self.log_file,
            **options,
        )

    def log(self):
        """Returns what the process has written to the file."""
        return os.pread(self.log_file.fileno(), 1 << 24, 0).decode(errors="replace")

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, limit=LIMIT):
        """Waits for the end of the process, and returns its exit code."""
        return self.process.wait(limit)

    def stop(self, limit=LIMIT):
        """Ends the process with SIGTERM, or after `limit` seconds with SIGKILL."""
        if self.process.poll() is None:
            self.signal()
            try:
                self.process.wait(limit)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait(limit)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.log_file.close()


class Server(Program):
    """`standpipe serve`. `port` is the port of its first TCP listener."""

    def __init__(self, *flags, listen=("127.0.0.1:0",), **options):
        listeners = [part for address in listen for part in ("--listen", address)]
        super().__init__([STANDPIPE, "serve", *listeners, *flags], **options)
        ready = lambda: "listening on" in self.log() or self.process.poll() is not None
        wait_until("the server printed its address", ready)
        found = re.search(r"listening on https?://\S+?:(\d+)/", self.log())
        self.port = int(found[1]) if found else None


def tls_context(version=None, certificate=None):
    """Returns the settings of a TLS client that trusts the authority of the tests. `certificate` is the name of its own."""
    context = ssl.create_default_context(cafile=KEYS / "ca.pem")
    if version:
        context.minimum_version = context.maximum_version = version
    if certificate:
        context.load_cert_chain(KEYS / f"{certificate}.pem", KEYS / f"{certificate}.key")
    return context


def connect(port, context=None, source=None):
    """Connects to the loopback port, with TLS if there is a context. `source` is the address of the client."""
    stream = socket.create_connection(("127.0.0.1", port), LIMIT, source_address=source and (source, 0))
    return context.wrap_socket(stream, server_hostname="localhost") if context else stream


def request(port, method, path, headers=None, body=b"", limit=LIMIT, context=None):
    """Sends one HTTP/1.1 request with `Connection: close`. Returns the status, or None without an answer, and all bytes."""
    fields = {"Host": f"127.0.0.1:{port}", "Connection": "close", **(headers or {})}
    if body:
        fields["Content-Length"] = str(len(body))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with connect(port, context) as stream:
        stream.settimeout(limit)
        stream.sendall(head.encode() + b"\r\n" + body)
        answer = read_to_end(stream)
    return status(answer), answer


def read_to_end(stream):
    """Reads until the peer ends the stream or resets the connection."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while part := stream.recv(65536):
            answer += part
    return answer


def status(answer):
    found = re.match(rb"HTTP/1\.[01] (\d{3})", answer)
    return int(found[1]) if found else None


def upgrade_head(port, path="/echo", headers=None):
    """Returns the head of an opening handshake."""
    fields = {
        "Host": f"127.0.0.1:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **(headers or {}),
    }
    return f"GET {path} HTTP/1.1\r\n{''.join(f'{n}: {v}' + chr(13) + chr(10) for n, v in fields.items())}\r\n".encode()
