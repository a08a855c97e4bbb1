"""TLS with other implementations: `openssl s_client`, curl, and Python's `ssl` with `websockets`.

The server has the certificate `tests/keys/tls/server.pem`, which the authority `ca.pem` has signed.
"""

import json
import select
import socket
import ssl
import subprocess
import tempfile
import unittest

from support import KEYS, LIMIT, TLS_FLAGS, Server, connect, read_to_end, request, status, tls_context, upgrade_head
from support import wait_until
from raw_client import BINARY, CLOSE, TEXT, Frames, WebSocket, frame

try:
    from websockets.sync.client import connect as websockets_connect
except ImportError:
    websockets_connect = None

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
TLS12 = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"]
TLS13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
GROUPS = ["X25519", "P-256", "P-384"]
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
# With these, curl prints the status only.
CODE = ["-o", "/dev/null", "-w", "%{http_code}"]
# The letters at the beginning of a read that are commands of s_client.
COMMANDS = b"QRKkBbCcPS"


class OpenSSL:
    """`openssl s_client` with a connection to the server. Each write is read on its own, so a command is a write of its own."""

    def __init__(self, port, *options):
        self.input, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.errors = tempfile.TemporaryFile()
        # `-brief` prints nothing but received data on standard output. With `-nbio` it sends and receives at the same time.
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(KEYS / "ca.pem")]
        command += ["-verify_return_error", "-verify_hostname", "localhost", "-brief", "-nbio", *options]
        with theirs:
            self.process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=self.errors)
        self.frames = Frames(self.receive)

    def receive(self):
        output = self.process.stdout
        if not select.select([output], [], [], LIMIT)[0]:
            raise TimeoutError(f"waited {LIMIT:g} s for data; s_client says {self.log()}")
        return output.read1(65_536)

    def write(self, data):
        for at in range(0, len(data), 4096):
            part = data[at : at + 4096]
            assert part[0] not in COMMANDS, part[:1]
            self.input.sendall(part)

    def command(self, letter):
        self.input.sendall(letter.encode() + b"\n")

    def upgrade(self, port, path="/echo"):
        self.write(upgrade_head(port, path))
        return status(self.frames.head())

    def log(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.input.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


def s_client(port, *options, data=GET):
    """Runs s_client for one request. Returns its exit code, and everything that it printed, with the answer."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(KEYS / "ca.pem"), "-verify_return_error"]
    run = subprocess.run([*command, "-ign_eof", *options], input=data, capture_output=True, timeout=LIMIT)
    return run.returncode, (run.stdout + run.stderr).decode(errors="replace")


def curl(*arguments):
    """Runs curl. Returns its exit code, and what it printed: the body, and with -i the head."""
    command = ["curl", "--silent", "--show-error", "--max-time", str(int(LIMIT)), "--cacert", str(KEYS / "ca.pem")]
    run = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=2 * LIMIT)
    return run.returncode, run.stdout + run.stderr


class TlsTest(unittest.TestCase):
    """`self.port` is that of a server with TLS, which must not panic, and whose admin paths need no key."""

    def start(self, *flags, **options):
        server = self.enterContext(Server(*TLS_FLAGS, "--admin-open", *flags, **options))
        self.addCleanup(self.check, server)
        return server

    def check(self, server):
        # Cleanups run in reverse, so the server still runs.
        self.assertIsNone(server.process.poll(), server.log())
        self.assertEqual(request(server.port, "GET", "/healthz", context=tls_context())[0], 200)
        self.assertNotIn("panicked", server.log())


class Openssl(TlsTest):
    def test_every_cipher_suite_and_group_is_spoken(self):
        port = self.start().port
        attempts = [("-tls1_2", "-cipher", name) for name in TLS12] + [("-tls1_3", "-ciphersuites", name) for name in TLS13]
        for options in attempts + [("-tls1_3", "-groups", name) for name in GROUPS]:
            with self.subTest(options):
                code, printed = s_client(port, *options)
                self.assertEqual(code, 0, printed)
                self.assertIn("Verify return code: 0 (ok)", printed)
                self.assertIn("HTTP/1.1 200", printed)
                if "-groups" not in options:
                    self.assertIn(options[2], printed)

    def test_rsa_certificate_is_served(self):
        flags = ["--tls-cert", KEYS / "rsa.pem", "--tls-key", KEYS / "rsa.key", "--admin-open"]
        port = self.enterContext(Server(*flags)).port
        for options in (("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), ("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256")):
            with self.subTest(options):
                code, printed = s_client(port, *options)
                self.assertEqual(code, 0, printed)
                self.assertIn("HTTP/1.1 200", printed)

    def test_old_versions_and_ciphers_are_refused_with_an_alert(self):
        server = self.start("-v")
        old = "ALL:@SECLEVEL=0"
        attempts = [
            # These have no list of signature algorithms, which `rustls` misses first.
            (("-tls1", "-cipher", old), "alert handshake failure"),
            (("-tls1_1", "-cipher", old), "alert handshake failure"),
            # CBC, and RSA key exchange.
            (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"), "alert handshake failure"),
            (("-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"), "alert handshake failure"),
            (("-alpn", "h2"), "alert no application protocol"),
        ]
        for options, alert in attempts:
            with self.subTest(options):
                code, printed = s_client(server.port, *options)
                self.assertNotEqual(code, 0, printed)
                self.assertIn(alert, printed.lower())
        wait_until("the refusals are logged", lambda: server.log().count("no TLS: ") >= 1)

    def test_alpn_is_http11(self):
        port = self.start().port
        for offered in ("http/1.1", "h2,http/1.1"):
            code, printed = s_client(port, "-alpn", offered)
            self.assertEqual(code, 0, printed)
            self.assertIn("ALPN protocol: http/1.1", printed)
        self.assertIn("No ALPN negotiated", s_client(port)[1])

    def test_sessions_are_resumed(self):
        port = self.start().port
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version), tempfile.NamedTemporaryFile() as session:
                code, printed = s_client(port, version, "-sess_out", session.name)
                self.assertEqual(code, 0, printed)
                self.assertRegex(printed, "(?m)^New, TLSv1")
                code, printed = s_client(port, version, "-sess_in", session.name)
                self.assertEqual(code, 0, printed)
                self.assertRegex(printed, "(?m)^Reused, TLSv1")
                self.assertIn("HTTP/1.1 200", printed)

    def test_early_data_is_refused(self):
        port = self.start().port
        with tempfile.NamedTemporaryFile() as session, tempfile.NamedTemporaryFile() as early:
            s_client(port, "-tls1_3", "-sess_out", session.name)
            text = ["openssl", "sess_id", "-in", session.name, "-noout", "-text"]
            shown = subprocess.run(text, capture_output=True, text=True, check=True).stdout
            self.assertIn("Max Early Data: 0", shown)
            early.write(GET)
            early.flush()
            _, printed = s_client(port, "-tls1_3", "-sess_in", session.name, "-early_data", early.name)
            self.assertNotIn("Early data was accepted", printed)

    def test_key_updates_between_messages(self):
        port = self.start().port
        with OpenSSL(port, "-tls1_3") as client:
            self.assertEqual(client.upgrade(port), 101, client.log())
            for n in range(60):
                # K asks the server for new keys too, and k does not.
                client.command("Kk"[n % 2])
                text = b"x%d" % n
                client.write(frame(TEXT, text))
                self.assertEqual(client.frames.frame(), (TEXT, text), client.log())
            self.assertEqual(client.log().count("KEYUPDATE"), 60)

    def test_key_updates_inside_a_message(self):
        port = self.start("--max-message", "1MiB").port
        with OpenSSL(port, "-tls1_3") as client:
            self.assertEqual(client.upgrade(port), 101, client.log())
            payload = b"x" * 500_000
            message = frame(TEXT, payload)
            for at in range(0, len(message), 50_000):
                client.write(message[at : at + 50_000])
                client.command("K")
            self.assertEqual(client.frames.frame(), (TEXT, payload), client.log())
            client.write(frame(CLOSE, b"\x03\xe8"))
            self.assertEqual(client.frames.frame(), (CLOSE, b"\x03\xe8"))

    def test_flood_of_key_updates_ends_the_connection(self):
        server = self.start("-v")
        with OpenSSL(server.port, "-tls1_3") as client:
            self.assertEqual(client.upgrade(server.port), 101, client.log())
            # No data between them. `rustls` allows 32.
            for _ in range(100):
                try:
                    client.command("K")
                except OSError:
                    break
            # s_client sees a close_notify, which is no error for it.
            client.process.wait(LIMIT)
            failure = "reading from the socket failed"
            wait_until("the server logs the failed session", lambda: failure in server.log())

    def test_renegotiation_is_refused(self):
        # The alert leaves with the next record, which is a ping here.
        server = self.start("--ping-interval", "300ms")
        with OpenSSL(server.port, "-tls1_2") as client:
            self.assertEqual(client.upgrade(server.port), 101, client.log())
            client.write(frame(TEXT, b"before"))
            self.assertEqual(client.frames.frame(), (TEXT, b"before"))
            client.command("R")
            wait_until("s_client ends", lambda: client.process.poll() is not None)
            self.assertIn("no renegotiation", client.log())


class Curl(TlsTest):
    def test_curl_reads_and_publishes(self):
        server = self.start()
        base = f"https://localhost:{server.port}"
        with WebSocket(server.port, "/ws/news", tls_context()) as member:
            for n, version in enumerate(([], ["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"])):
                with self.subTest(version):
                    self.assertEqual(curl(*version, f"{base}/healthz", *CODE), (0, "200"))
                    code, printed = curl(*version, "--data-binary", f"message {n}", f"{base}/publish/news")
                    self.assertEqual(code, 0, printed)
                    self.assertIn("id", json.loads(printed))
                    self.assertEqual(member.frame(), (BINARY, b"message %d" % n))

    def test_curl_keeps_its_connection(self):
        base = f"https://localhost:{self.start().port}"
        outputs = ["-o", "/dev/null"] * 3
        code, printed = curl(f"{base}/healthz", f"{base}/healthz", f"{base}/topics", *outputs, "-w", "%{num_connects}")
        self.assertEqual((code, printed), (0, "100"))

    def test_curl_does_not_trust_the_certificate_for_another_name(self):
        server = self.start()
        code, printed = curl("--resolve", f"other.test:{server.port}:127.0.0.1", f"https://other.test:{server.port}/healthz")
        self.assertEqual(code, 60, printed)

    def test_plain_http_is_answered_in_clear(self):
        server = self.start()
        code, printed = curl("-i", f"http://localhost:{server.port}/healthz")
        self.assertEqual(code, 0, printed)
        self.assertRegex(printed, r"(?s)^HTTP/1.1 400 .*\n\nThis port speaks HTTPS")

    def test_unix_socket_stays_plain(self):
        directory = self.enterContext(tempfile.TemporaryDirectory())
        path = f"{directory}/standpipe.sock"
        flags = ["--admin-listen", f"unix:{path}"]
        server = self.enterContext(Server(*TLS_FLAGS, *flags))
        self.assertEqual(curl("--unix-socket", path, "http://localhost/healthz", *CODE), (0, "200"))
        with WebSocket(server.port, "/ws/news", tls_context()) as member:
            code, printed = curl("--unix-socket", path, "--data-binary", "hello", "http://localhost/publish/news")
            self.assertEqual(code, 0, printed)
            self.assertEqual(member.frame(), (BINARY, b"hello"))
        self.assertEqual(curl(f"https://localhost:{server.port}/metrics", *CODE), (0, "404"))
        self.assertNotEqual(curl("--unix-socket", path, "https://localhost/healthz")[0], 0, "it speaks no TLS")


class ClientCertificates(TlsTest):
    def setUp(self):
        flags = [*TLS_FLAGS, "--tls-client-ca", KEYS / "ca.pem", "--admin-open"]
        self.server = self.enterContext(Server(*flags))

    def test_curl_needs_a_certificate(self):
        url = f"https://localhost:{self.server.port}/healthz"
        for name in ("client", "long_client"):
            own = ["--cert", KEYS / f"{name}.pem", "--key", KEYS / f"{name}.key"]
            for version in (["--tls-max", "1.2"], ["--tlsv1.3"]):
                self.assertEqual(curl(*own, *version, url, *CODE), (0, "200"))
        for own in ([], ["--cert", KEYS / "other_client.pem", "--key", KEYS / "other_client.key"]):
            for version in (["--tls-max", "1.2"], ["--tlsv1.3"]):
                code, printed = curl(*own, *version, url)
                self.assertNotEqual(code, 0, printed)
                # With TLS 1.2, the alert may come when the client has already failed to send.
                self.assertRegex(printed, "alert|reset|Broken pipe")

    def test_python_needs_a_certificate(self):
        for version in VERSIONS.values():
            for name in ("client", "long_client"):
                with WebSocket(self.server.port, "/echo", tls_context(version, name)) as client:
                    self.assertEqual(client.echo(b"hello"), (TEXT, b"hello"))
            for name in (None, "other_client"):
                with self.assertRaises(ssl.SSLError) as raised, WebSocket(self.server.port, "/echo", tls_context(version, name)):
                    pass
                self.assertIn("ALERT", str(raised.exception).upper())
        with WebSocket(self.server.port, "/echo", tls_context(None, "client")) as client:
            self.assertEqual(client.echo(b"hello"), (TEXT, b"hello"))


class Python(TlsTest):
    def test_python_sees_the_version_and_the_certificate(self):
        port = self.start().port
        for name, version in VERSIONS.items():
            context = tls_context(version)
            context.set_alpn_protocols(["http/1.1"])
            with connect(port, context) as stream:
                self.assertEqual((stream.version(), stream.selected_alpn_protocol()), (name, "http/1.1"))
                self.assertIn(("DNS", "localhost"), stream.getpeercert()["subjectAltName"])
                stream.sendall(GET)
                self.assertEqual(status(read_to_end(stream)), 200)

    def test_python_resumes_sessions(self):
        port = self.start().port
        for name, version in VERSIONS.items():
            context, session = tls_context(version), None
            for reused in (False, True, True):
                stream = socket.create_connection(("127.0.0.1", port), LIMIT)
                with context.wrap_socket(stream, server_hostname="localhost", session=session) as stream:
                    self.assertEqual(stream.session_reused, reused, name)
                    stream.sendall(GET)
                    self.assertEqual(status(read_to_end(stream)), 200)
                    # The tickets of TLS 1.3 come after the handshake.
                    session = stream.session

    def test_close_comes_before_close_notify_and_the_end(self):
        port = self.start().port
        for version in VERSIONS.values():
            context = tls_context(version)
            with WebSocket(port, "/echo", context) as client:
                client.send(CLOSE, b"\x0f\xa0bye")
                self.assertEqual(client.frame(), (CLOSE, b"\x0f\xa0bye"))
                # Without close_notify, Python raises SSLEOFError.
                client.stream.suppress_ragged_eofs = False
                self.assertEqual(client.stream.recv(1), b"")

    @unittest.skipIf(websockets_connect is None, "websockets is not installed: pip install -r tests/deploy/requirements.txt")
    def test_websockets_echoes_with_each_version(self):
        port = self.start("--max-message", "1MiB").port
        for version in VERSIONS.values():
            with websockets_connect(f"wss://localhost:{port}/echo", ssl=tls_context(version), max_size=None) as client:
                for length in (0, 1, 125, 126, 16_383, 16_384, 16_385, 65_535, 65_536, 1 << 20):
                    client.send(b"\xa5" * length)
                    self.assertEqual(client.recv(timeout=LIMIT), b"\xa5" * length)
                self.assertTrue(client.ping(b"there?").wait(timeout=LIMIT))
                client.close(4000, "bye")
                self.assertEqual((client.close_code, client.close_reason), (4000, "bye"))


if __name__ == "__main__":
    unittest.main()
