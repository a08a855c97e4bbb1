"""TLS under load: large messages in both directions at the same time, slow readers, the policies of topics, and a reload
of the certificate with more than 1,000 connected clients."""

import asyncio
import contextlib
import http.client
import os
import resource
import shutil
import signal
import socket
import ssl
import tempfile
import threading
import time
import unittest
from pathlib import Path

from raw_client import BINARY, PING, TEXT, WebSocket, frame
from support import KEYS, LIMIT, Server, tls_context, wait_until
from test_tls import VERSIONS, OpenSSL, TlsTest

try:
    from websockets.asyncio.client import connect as websockets_connect
    from websockets.exceptions import ConnectionClosed
except ImportError:
    websockets_connect = None

MIB = 1 << 20
MESSAGES = 400
MESSAGE = 16 << 10
CLIENTS = 1200
SPARE = 100


class Publisher:
    """Publishes over one HTTPS connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPSConnection("localhost", port, timeout=LIMIT, context=tls_context())

    def publish(self, topic, data):
        self.connection.request("POST", f"/publish/{topic}", body=data)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 202:
            raise AssertionError((answer.status, body))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()


def narrow_socket(port):
    """Returns a connected socket with a small SO_RCVBUF, so that the client is slow soon."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
    stream.connect(("127.0.0.1", port))
    stream.setblocking(False)
    return stream


def numbered(number):
    return b"%08d" % number + b"x" * (MESSAGE - 8)


@unittest.skipIf(websockets_connect is None, "websockets is not installed: pip install -r tests/deploy/requirements.txt")
class Websockets(TlsTest):
    def test_messages_of_1_mib_in_both_directions(self):
        port = self.start("--max-message", "2MiB").port
        count = 15

        async def client(seed, version):
            settings = {"ssl": tls_context(version), "max_size": None, "compression": None}
            async with websockets_connect(f"wss://localhost:{port}/echo", **settings) as client:

                async def send():
                    for n in range(count):
                        await client.send(bytes([seed ^ n]) * MIB)

                # The sender does not wait for the echoes.
                sender = asyncio.create_task(send())
                for n in range(count):
                    self.assertEqual(await client.recv(), bytes([seed ^ n]) * MIB)
                await sender

        async def clients():
            versions = list(VERSIONS.values())
            await asyncio.wait_for(asyncio.gather(*(client(64 * n, versions[n % 2]) for n in range(4))), 60)

        asyncio.run(clients())

    async def slow_member(self, port, topic, version):
        """Subscribes, and reads nothing until the publisher has finished or is stuck. Then reads everything. Returns the
        numbers of the messages, whether the publisher had finished, and the close code if there was one."""
        published = []

        def publish():
            with Publisher(port) as publisher:
                for n in range(MESSAGES):
                    publisher.publish(topic, numbered(n))
                    published.append(n)

        stream = narrow_socket(port)
        settings = {"ssl": tls_context(version), "server_hostname": "localhost", "sock": stream}
        # The client stops reading its socket while one message waits in its own queue.
        settings |= {"max_queue": 1, "compression": None, "ping_interval": None, "close_timeout": 1}
        async with websockets_connect(f"wss://localhost:{port}/ws/{topic}", **settings) as client:
            publishing = asyncio.create_task(asyncio.to_thread(publish))
            before, done = -1, False
            while not done and before != len(published):
                before = len(published)
                done, _ = await asyncio.wait([publishing], timeout=1)
            numbers, code = [], None
            try:
                while not numbers or numbers[-1] < MESSAGES - 1:
                    numbers.append(int((await asyncio.wait_for(client.recv(), LIMIT))[:8]))
            except ConnectionClosed as end:
                code = end.rcvd and end.rcvd.code
            await asyncio.wait_for(publishing, LIMIT)
            return numbers, bool(done), code

    def check_policy(self, policy, expect):
        server = self.start("--topic", f"*:policy={policy}", "--close-timeout", "10s", "--sndbuf", "64KiB")
        for name, version in VERSIONS.items():

            async def run():
                numbers, was_free, code = await self.slow_member(server.port, f"topic-{name}", version)
                self.assertEqual(numbers, sorted(set(numbers)), "in order, and none twice")
                expect(numbers, was_free, code)

            with self.subTest(policy, version=name):
                asyncio.run(run())

    def test_disconnect_closes_with_4008(self):
        def expect(numbers, was_free, code):
            self.assertEqual((was_free, code), (True, 4008))
            self.assertEqual(numbers, list(range(len(numbers))), "the messages before the disconnection")
            self.assertLess(len(numbers), MESSAGES)

        self.check_policy("disconnect", expect)

    def test_drop_oldest_ends_with_the_newest(self):
        def expect(numbers, was_free, code):
            self.assertEqual((was_free, code), (True, None))
            self.assertEqual((numbers[0], numbers[-1]), (0, MESSAGES - 1))
            self.assertLess(len(numbers), MESSAGES)

        self.check_policy("drop-oldest", expect)

    def test_conflate_ends_with_the_newest(self):
        def expect(numbers, was_free, code):
            self.assertEqual((was_free, code), (True, None))
            self.assertEqual((numbers[0], numbers[-1]), (0, MESSAGES - 1))
            self.assertLess(len(numbers), MESSAGES)

        self.check_policy("conflate", expect)

    def test_block_loses_nothing(self):
        def expect(numbers, was_free, code):
            self.assertEqual((was_free, code), (False, None), "the publisher waited")
            self.assertEqual(numbers, list(range(MESSAGES)))

        self.check_policy("block:20s", expect)

    def test_drop_newest_keeps_the_oldest(self):
        server = self.start("--topic", "*:policy=drop-newest", "--sndbuf", "64KiB")
        with Publisher(server.port) as publisher:
            for version in VERSIONS.values():
                with WebSocket(server.port, "/ws/oldest", tls_context(version), rcvbuf=16 << 10) as member:
                    for n in range(MESSAGES):
                        publisher.publish("oldest", numbered(n))
                    # What follows comes after a part of the queue has been read.
                    numbers = [int(member.frame()[1][:8]) for _ in range(20)]
                    publisher.publish("oldest", numbered(MESSAGES))
                    while numbers[-1] != MESSAGES:
                        numbers.append(int(member.frame()[1][:8]))
                    kept = numbers[:-1]
                    self.assertEqual(kept, list(range(len(kept))))
                    self.assertLess(len(kept), MESSAGES)


class OpensslLoad(TlsTest):
    def test_key_updates_in_both_directions_under_load(self):
        server = self.start("--max-message", "2MiB")
        count = 12
        with OpenSSL(server.port, "-tls1_3") as client:
            self.assertEqual(client.upgrade(server.port), 101, client.log())
            failed = []

            def send():
                try:
                    for n in range(count):
                        message = frame(TEXT, bytes([ord("0") + n % 10]) * MIB)
                        for at in range(0, len(message), 256 << 10):
                            client.write(message[at : at + (256 << 10)])
                            client.command("K")
                except (OSError, AssertionError) as error:
                    failed.append(error)

            # It does not wait for the echoes.
            sender = threading.Thread(target=send)
            sender.start()
            try:
                for n in range(count):
                    opcode, payload = client.frames.frame()
                    while opcode == PING:
                        opcode, payload = client.frames.frame()
                    self.assertTrue((opcode, payload) == (TEXT, bytes([ord("0") + n % 10]) * MIB), f"message {n}")
            finally:
                client.input.shutdown(socket.SHUT_RDWR)
                sender.join(LIMIT)
            self.assertEqual(failed, [])
            self.assertGreaterEqual(client.log().count("KEYUPDATE"), 4 * count)


class SlowReaders(TlsTest):
    """A socket that refuses bytes must take 64 KiB in each `write_timeout`, as on a plain socket."""

    def read_slowly(self, per_second):
        """Reads 1 MiB of messages at this pace. Returns the number of messages, or None if the server cut it off."""
        server = self.start("--write-timeout", "3s", "--sndbuf", "32KiB", "--topic", "*:policy=block:1m,queue=8")
        with WebSocket(server.port, "/ws/slow", tls_context(), rcvbuf=8 << 10) as member, Publisher(server.port) as publisher:
            count = 64

            def publish():
                for n in range(count):
                    publisher.publish("slow", numbered(n))

            thread = threading.Thread(target=publish)
            thread.start()
            try:
                step = 4096

                def receive():
                    # This cannot be an event: the pace of the reader is what the test is about.
                    time.sleep(step / per_second)
                    return member.stream.recv(step)

                member.frames.receive = receive
                for n in range(count):
                    opcode, payload = member.frames.frame()
                    while opcode == PING:
                        opcode, payload = member.frames.frame()
                    self.assertEqual(payload, numbered(n))
                return count
            except (EOFError, ConnectionResetError):
                wait_until("the log names the limit", lambda: "write_timeout" in server.log())
                return None
            finally:
                thread.join(LIMIT)

    def test_reader_that_is_fast_enough_gets_everything(self):
        self.assertEqual(self.read_slowly(256 << 10), 64)

    def test_reader_that_is_too_slow_is_reset(self):
        begin = time.monotonic()
        self.assertIsNone(self.read_slowly(4 << 10))
        self.assertGreater(time.monotonic() - begin, 3)


class Reload(unittest.TestCase):
    def install(self, name):
        """Replaces both files, as a tool that renews certificates does."""
        for kind in ("pem", "key"):
            path = f"{self.directory}/new.{kind}"
            shutil.copy(KEYS / f"{name}.{kind}", path)
            os.rename(path, f"{self.directory}/server.{kind}")

    def reload(self, what):
        """Sends SIGHUP, and waits for one more line of the log that contains `what`."""
        before = self.server.log().count(what)
        self.server.signal(signal.SIGHUP)
        wait_until(f"the log has another {what!r}", lambda: self.server.log().count(what) > before)

    def served(self, session=None):
        """Connects a client. Returns its certificate, whether its session was resumed, and its session."""
        stream = socket.create_connection(("127.0.0.1", self.server.port), LIMIT)
        with self.context.wrap_socket(stream, server_hostname="localhost", session=session) as stream:
            stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.assertTrue(stream.recv(4096).startswith(b"HTTP/1.1 200"))
            return stream.getpeercert(binary_form=True), stream.session_reused, stream.session

    def setUp(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard != resource.RLIM_INFINITY and hard < CLIENTS + SPARE:
            self.skipTest(f"this process may have only {hard} descriptors, and {CLIENTS + SPARE} are needed")
        soft = hard if hard != resource.RLIM_INFINITY else CLIENTS + SPARE
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.directory = self.enterContext(tempfile.TemporaryDirectory())
        self.install("server")
        flags = ["--tls-cert", f"{self.directory}/server.pem", "--tls-key", f"{self.directory}/server.key"]
        self.server = self.enterContext(Server(*flags, "--admin-open", "--ping-interval", "10m"))
        self.context = tls_context()

    def test_reload_cuts_none_of_1200_clients(self):
        first = {name: ssl.PEM_cert_to_DER_cert(self.first(name)) for name in ("server", "renewed")}
        with contextlib.ExitStack() as stack, Publisher(self.server.port) as publisher:
            contexts = [tls_context(version) for version in VERSIONS.values()]
            members = [stack.enter_context(WebSocket(self.server.port, "/ws/load", contexts[n % 2])) for n in range(CLIENTS)]
            done, served, failed = threading.Event(), [], []

            def renew():
                try:
                    names = ["renewed", "server"]
                    while not done.is_set() or len(served) < 2:
                        self.install(names[len(served) % 2])
                        self.reload("SIGHUP: reloaded")
                        certificate, _, _ = self.served()
                        served.append(certificate == first[names[len(served) % 2]])
                except Exception as error:  # It is reported below.
                    failed.append(error)

            renewing = threading.Thread(target=renew)
            renewing.start()
            try:
                for n in range(8):
                    text = b"message %d" % n
                    publisher.publish("load", text)
                    for member in members:
                        self.assertEqual(member.frame(), (BINARY, text))
            finally:
                done.set()
                renewing.join(60)
            self.assertEqual(failed, [])
            self.assertEqual(set(served), {True}, "each new client got the certificate of the last reload")
            self.assertGreaterEqual(len(served), 2)
        self.assertEqual(self.server.stop(60), 0, self.server.log())

    def first(self, name):
        end = "-----END CERTIFICATE-----\n"
        text = Path(KEYS / f"{name}.pem").read_text()
        return text[: text.index(end) + len(end)]

    def test_sessions_end_with_their_configuration(self):
        old, _, session = self.served()
        self.assertEqual(self.served(session)[:2], (old, True))
        self.install("renewed")
        self.reload("SIGHUP: reloaded")
        new, reused, _ = self.served(session)
        self.assertNotEqual(new, old)
        self.assertFalse(reused)

    def test_broken_files_change_nothing(self):
        before, _, _ = self.served()
        with WebSocket(self.server.port, "/echo", self.context) as client:
            for name, content in (("server.pem", "no certificate"), ("server.key", ""), ("server.pem", None)):
                path = Path(self.directory, name)
                if content is None:
                    path.unlink()
                else:
                    path.write_text(content)
                self.reload("ERROR")
                self.assertEqual(self.served()[0], before, (name, content))
                self.install("server")
            # The key of another certificate.
            shutil.copy(KEYS / "renewed.key", f"{self.directory}/server.key")
            self.reload("ERROR")
            self.assertEqual(self.served()[0], before)
            self.assertEqual(client.echo(b"still here"), (TEXT, b"still here"))
        for line in self.server.log().splitlines():
            self.assertNotIn("PRIVATE KEY", line)


if __name__ == "__main__":
    unittest.main()
