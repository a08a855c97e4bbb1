"""The chapter "TLS" of `src/GUIDE.md`: its commands and its files, in a temporary directory, on free ports.

Pebble is the authority in place of Let's Encrypt. It asks the certbot or lego on this machine for each name.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import KEYS, LIMIT, ROOT, STANDPIPE, Program, accepts, fenced, free_port, status, upgrade_head, wait_until

SITE = "ws.example.com"
UNITS = ROOT / "packaging/systemd"


def chapter():
    text = (ROOT / "src/GUIDE.md").read_text()
    return text.partition("\n## TLS\n")[2].partition("\n## ")[0]


def blocks(language):
    return fenced(chapter(), language)


def commands(start):
    """Returns the commands of the chapter that begin with this text, each as one line."""
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    found = [line for line in lines if line.startswith(start)]
    assert found, f"no command begins with {start!r}"
    return found


def replaced(text, *pairs):
    for old, new in pairs:
        assert old in text, f"{old!r} is not in {text!r}"
        text = text.replace(old, str(new))
    return text


class Machine:
    """A directory for the files, and the ports of the hub and of certbot."""

    def __init__(self, directory):
        self.root = Path(directory)
        self.port, self.http = free_port(), free_port()
        (self.root / "bin").mkdir()
        (self.root / "bin/standpipe").symlink_to(STANDPIPE)
        path = f"{self.root}/bin:{os.environ['PATH']}"
        self.environment = {"PATH": path, "HOME": str(self.root), "STANDPIPE_LISTEN": f"127.0.0.1:{self.port}"}

    def here(self, command):
        """Moves a command of the guide to the directory and the port of the test."""
        return command.replace("sudo ", "").replace("localhost:9000", f"localhost:{self.port}").replace(
            "/etc/standpipe", f"{self.root}/etc/standpipe")

    def try_run(self, command, **options):
        return subprocess.run(self.here(command), shell=True, cwd=self.root, env=self.environment, capture_output=True,
                              text=True, timeout=3 * LIMIT, **options)

    def run(self, command, **options):
        done = self.try_run(command, **options)
        if done.returncode != 0:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def make_certificates(self, *names):
        """Runs the commands that make these files."""
        for name in names:
            (command,) = [command for command in commands("openssl req") if f"-keyout {name}.key" in command]
            self.run(command)

    @contextlib.contextmanager
    def hub(self, command, **environment):
        """Runs a hub until the end of the block."""
        program, *flags = command.split()
        assert program == "standpipe"
        hub = Program([STANDPIPE, *flags], cwd=self.root, env={**self.environment, **environment})
        with hub:
            ready = lambda: "listening on" in hub.log() or hub.process.poll() is not None
            wait_until("the hub printed its address", ready)
            assert hub.process.poll() is None, hub.log()
            yield hub

    def connect(self, context, name):
        stream = socket.create_connection(("127.0.0.1", self.port), LIMIT)
        return context.wrap_socket(stream, server_hostname=name)



class TestCertificates(unittest.TestCase):
    def setUp(self):
        self.machine = Machine(self.enterContext(tempfile.TemporaryDirectory()))
        self.machine.make_certificates("ca", "server")

    def test_commands_reach_a_hub_with_a_certificate_for_tests(self):
        machine = self.machine
        start = commands("standpipe --tls-cert")[0]
        with machine.hub(start) as hub:
            self.assertIn(f"listening on https://127.0.0.1:{machine.port}/", hub.log())
            (ready, *_) = commands("curl --cacert ca.pem https")
            self.assertIn("ready\n", machine.run(ready))
            (session,) = commands("openssl s_client -connect localhost:9000")
            self.assertIn("Verification: OK", machine.run(session))
            client = commands("standpipe client")[0]
            self.assertEqual(machine.try_run(client, input="hello\n").stdout, "hello\n")
            (publish,) = commands("standpipe pub")
            self.assertEqual(json.loads(machine.run(publish))["receivers"], 0)
            (top,) = commands("standpipe top")
            self.assertRegex(machine.run(top), r"^standpipe: \d+ clients")
            # Without the authority, or with another name, no client trusts the hub.
            self.assertNotEqual(machine.try_run(ready.replace("--cacert ca.pem", "")).returncode, 0)
            untrusted = machine.try_run(client.replace("--ca ca.pem", ""), input="hello\n")
            self.assertNotEqual(untrusted.returncode, 0)
            insecure = machine.try_run(client.replace("--ca ca.pem", "--insecure"), input="hello\n")
            self.assertEqual((insecure.returncode, insecure.stdout), (0, "hello\n"), insecure.stderr)
            self.assertIn("--insecure", insecure.stderr)
            plain = machine.run(f"curl -s http://localhost:{machine.port}/readyz")
            self.assertIn("This port speaks HTTPS", plain)

    def test_only_clients_with_a_certificate_are_let_in(self):
        machine = self.machine
        machine.make_certificates("devices", "sensor")
        (start,) = [command for command in commands("standpipe --tls-cert") if "--tls-client-ca" in command]
        (ready,) = commands("curl --cacert ca.pem --cert")
        with machine.hub(start):
            self.assertIn("ready\n", machine.run(ready))
            (client,) = [command for command in commands("standpipe client") if "--client-cert" in command]
            self.assertEqual(machine.try_run(client, input="hello\n").stdout, "hello\n")
            without = machine.try_run(re.sub("--cert .*? --key .*? ", "", ready))
            self.assertEqual((without.stdout, without.returncode == 0), ("", False))
            foreign = machine.try_run(ready.replace("sensor.", f"{KEYS}/client."))
            self.assertEqual((foreign.stdout, foreign.returncode == 0), ("", False))

    def test_remaining_validity_is_checked(self):
        (check,) = commands("openssl s_client -connect ws.example.com:443")
        check = replaced(check, ("ws.example.com:443", "localhost:9000"), ("-servername ws.example.com", ""))
        with self.machine.hub(commands("standpipe --tls-cert")[0]):
            self.assertIn("Certificate will not expire", self.machine.run(check))
            # The certificate for tests is valid for 90 days.
            soon = self.machine.try_run(replaced(check, ("604800", 91 * 86400)))
            self.assertEqual((soon.returncode, "Certificate will expire" in soon.stdout), (1, True), soon.stdout)


def missing(*programs):
    return [name for name in programs if shutil.which(name) is None]


@unittest.skipIf(missing("haproxy"), "HAProxy is not installed")
class TestPassedOn(unittest.TestCase):
    def test_proxy_passes_tls_on_by_name(self):
        machine = Machine(self.enterContext(tempfile.TemporaryDirectory()))
        machine.make_certificates("ca")
        (command,) = [command for command in commands("openssl req") if "-keyout server.key" in command]
        machine.run(replaced(command, ("DNS:localhost", f"DNS:{SITE}")))
        (start,) = commands("standpipe --listen 127.0.0.1:9443")
        start = replaced(start, ("9443", machine.port), ("fullchain.pem", "server.pem"), ("privkey.pem", "server.key"),
                         ("/run/standpipe/admin.sock", f"{machine.root}/admin.sock"))
        port = free_port()
        (text,) = blocks("haproxy-tls")
        text = replaced(text, ("bind :443", f"bind 127.0.0.1:{port}"), ("9443", machine.port))
        (machine.root / "haproxy.cfg").write_text(text)
        with machine.hub(start) as hub, Program(["haproxy", "-db", "-f", machine.root / "haproxy.cfg"]):
            wait_until("HAProxy listens", lambda: accepts(port))
            ready = f"curl -s --cacert ca.pem --resolve %s:{port}:127.0.0.1 https://%s:{port}/readyz"
            self.assertEqual(machine.run(ready.replace("%s", SITE)), "ready\n", hub.log())
            other = machine.try_run(ready.replace("%s", "other.example.com"))
            self.assertEqual((other.stdout, other.returncode == 0), ("", False))


@unittest.skipIf(missing("pebble", "pebble-challtestsrv", "certbot", "lego"), "an ACME program is missing")
class Authority(unittest.TestCase):
    def setUp(self):
        self.machine = machine = Machine(self.enterContext(tempfile.TemporaryDirectory()))
        self.api, dns, management = free_port(), free_port(), free_port()
        settings = {
            "listenAddress": f"127.0.0.1:{self.api}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(KEYS / "server.pem"),
            "privateKey": str(KEYS / "server.key"),
            "httpPort": machine.http,
            "tlsPort": 0,
        }
        (machine.root / "pebble.json").write_text(json.dumps({"pebble": settings}))
        # Every name has the address of this machine.
        names = ["pebble-challtestsrv", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "",
                 "-tlsalpn01", "", "-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{free_port()}"]
        self.enterContext(Program(names))
        quick = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        pebble = ["pebble", "-config", machine.root / "pebble.json", "-dnsserver", f"127.0.0.1:{dns}"]
        self.pebble = self.enterContext(Program(pebble, env=quick))
        wait_until("pebble listens", lambda: accepts(self.api) and accepts(management))
        trusted = {"REQUESTS_CA_BUNDLE": str(KEYS / "ca.pem"), "LEGO_CA_CERTIFICATES": str(KEYS / "ca.pem")}
        machine.environment.update(trusted)
        (machine.root / "etc/standpipe").mkdir(parents=True)
        # The authority that signs makes a new root at each start.
        context = ssl.create_default_context(cafile=KEYS / "ca.pem")
        with socket.create_connection(("127.0.0.1", management), LIMIT) as stream:
            with context.wrap_socket(stream, server_hostname="localhost") as session:
                session.sendall(b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n")
                answer = b"".join(iter(lambda: session.recv(65536), b""))
        self.site = ssl.create_default_context(cadata=answer.partition(b"\r\n\r\n")[2].decode())

    def write_hook(self):
        """Writes the hook of the guide. It signals the hub whose number is in the file `hub`."""
        machine = self.machine
        (text,) = [block for block in blocks("text") if block.startswith("#!/bin/sh")]
        text = replaced(text, ("-g standpipe ", ""), ("systemctl reload standpipe.service", "kill -HUP $(cat hub)"))
        hook = machine.root / "etc/standpipe/certificate-hook"
        hook.write_text(machine.here(text))
        machine.run(commands("sudo chmod 755")[0])
        return hook

    def hub_of_the_guide(self):
        (text,) = [block for block in blocks("text") if block.startswith("# /etc/standpipe/environment")]
        lines = [self.machine.here(line) for line in text.splitlines() if line.startswith("STANDPIPE_TLS")]
        # As in the configuration of the service. The hub of the guide is not on loopback, where a foreign name is refused.
        origin = f"STANDPIPE_ORIGIN=https://{SITE}"
        return self.machine.hub("standpipe -vv", **dict(line.split("=", 1) for line in [*lines, origin]))

    def serial(self):
        with self.machine.connect(self.site, SITE) as stream:
            return stream.getpeercert()["serialNumber"]

    def test_certbot_renews_without_disconnecting_a_client(self):
        machine = self.machine
        self.write_hook()
        directories = "".join(f" --{name}-dir {machine.root}/certbot/{name}" for name in ("config", "work", "logs"))
        account = (f" --non-interactive --agree-tos --register-unsafely-without-email --http-01-port {machine.http}"
                   f" --server https://localhost:{self.api}/dir")
        (first,) = commands("sudo certbot certonly")
        self.assertIn("Successfully received certificate", machine.run(first + account + directories))
        self.assertEqual(os.stat(machine.root / "etc/standpipe/tls.key").st_mode & 0o777, 0o640)
        with self.hub_of_the_guide() as hub:
            (machine.root / "hub").write_text(str(hub.process.pid))
            old = self.serial()
            with machine.connect(self.site, SITE) as client:
                client.sendall(upgrade_head(machine.port, headers={"Host": SITE, "Origin": f"https://{SITE}"}))
                self.assertEqual(status(client.recv(4096)), 101, hub.log())
                self.assertIn("`sudo certbot renew --force-renewal --cert-name ws.example.com`", chapter())
                machine.run("certbot renew --force-renewal --cert-name ws.example.com --non-interactive"
                            " --no-random-sleep-on-renew" + directories)
                line = f"certificate read from {machine.root}/etc/standpipe/tls.pem"
                wait_until("the hub has read the files again", lambda: hub.log().count(line) == 2)
                self.assertNotEqual(self.serial(), old)
                # A text frame with an empty mask.
                client.sendall(b"\x81\x82\0\0\0\0hi")
                self.assertEqual(client.recv(4096), b"\x81\x02hi", hub.log())

    def test_lego_runs_its_hooks(self):
        machine = self.machine
        hook = machine.root / "lego-hook"
        hook.write_text('#!/bin/sh\ncp "$LEGO_CERT_PATH" etc/standpipe/tls.pem\ncp "$LEGO_CERT_KEY_PATH" etc/standpipe/tls.key\n')
        hook.chmod(0o755)
        server = f"--server https://localhost:{self.api}/dir --http.port 127.0.0.1:{machine.http} --accept-tos"
        run, renew = [replaced(command, ("--accept-tos", server), ("/etc/lego", machine.root / "lego"))
                      for command in commands("lego ")]
        machine.run(run)
        with self.hub_of_the_guide():
            old = self.serial()
        # The certificate of Pebble is valid for years, so it is not yet time to renew.
        machine.run(f"{renew} --no-random-sleep --days 10000")
        with self.hub_of_the_guide():
            self.assertNotEqual(self.serial(), old)


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
class DropIns(unittest.TestCase):
    def verify(self, unit, text):
        """Checks the units with this text of `systemctl edit`."""
        with tempfile.TemporaryDirectory() as directory:
            for path in UNITS.glob("*.s[eo]*[et]"):
                Path(directory, path.name).write_text(path.read_text().replace("/usr/bin/standpipe", STANDPIPE))
            Path(directory, f"{unit}.d").mkdir()
            Path(directory, f"{unit}.d/override.conf").write_text(text.replace("/usr/bin/standpipe", STANDPIPE))
            units = [str(path) for path in sorted(Path(directory).glob("*.s[eo]*[et]"))]
            run = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
            self.assertEqual((run.returncode, run.stdout + run.stderr), (0, ""))

    def test_changes_of_the_units_are_valid(self):
        found = [block for block in blocks("text") if block.startswith("[")]
        self.assertEqual(len(found), 3)
        for text in found:
            with self.subTest(text):
                self.verify("standpipe.socket" if text.startswith("[Socket]") else "standpipe.service", text)


if __name__ == "__main__":
    unittest.main()
