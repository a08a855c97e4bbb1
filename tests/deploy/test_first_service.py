"""The deployment that `src/GUIDE.md` describes step by step: its files and its commands, below a temporary directory.

systemd does not run here, so `systemd-socket-activate` starts the command of the service with the sockets of the units.
Caddy makes the certificate with an authority of its own.
"""

import json
import os
import re
import shlex
import socket
import ssl
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import LIMIT, ROOT, STANDPIPE, Program, accepts, fenced, free_port, status, upgrade_head, wait_until

SITE = "ws.example.com"
UNITS = ROOT / "packaging/systemd"


def section():
    text = (ROOT / "src/GUIDE.md").read_text()
    return text.partition("### A service, step by step\n")[2].partition("\n### ")[0]


def blocks(language):
    return fenced(section(), language)


def replaced(text, *pairs):
    for old, new in pairs:
        assert old in text, f"{old!r} is not in {text!r}"
        text = text.replace(old, str(new))
    return text


def setting(unit, name):
    """Returns the only value of a setting of a unit."""
    (value,) = re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(), re.M)
    return value


class Deployment:
    """The machine of the guide, below a directory. Its ports are free ones."""

    def __init__(self, directory):
        self.root = Path(directory)
        self.port, self.https = free_port(), free_port()
        self.admin = self.root / "admin.sock"
        (self.root / "etc/standpipe").mkdir(parents=True)
        (self.root / "etc/caddy").mkdir()
        (self.root / "bin").mkdir()
        (self.root / "bin/standpipe").symlink_to(STANDPIPE)
        path = f"{self.root}/bin:{os.environ['PATH']}"
        self.environment = {"PATH": path, "HOME": str(self.root), "XDG_DATA_HOME": str(self.root)}

    def here(self, text):
        """Moves what the guide puts on the machine below the directory."""
        return (
            text.replace("/etc/", f"{self.root}/etc/")
            .replace("/run/standpipe-admin.sock", str(self.admin))
            .replace("127.0.0.1:9000", f"127.0.0.1:{self.port}")
        )

    def write_files(self):
        """Writes the files that the guide shows. The first line of each is its path."""
        for text in blocks("toml") + blocks("text"):
            if path := re.match(r"# (/etc/\S+)\n", text):
                Path(self.here(path[1])).write_text(self.here(text))
        caddyfile = self.root / "etc/caddy/Caddyfile"
        options = f"{{\n admin off\n http_port {free_port()}\n https_port {self.https}\n skip_install_trust\n}}\n"
        caddyfile.write_text(options + replaced(caddyfile.read_text(), (f"{SITE} {{", f"{SITE} {{\n    tls internal")))

    def run(self, command, **options):
        """Runs a command of the guide, which must be in it, and returns its output."""
        (line,) = [line for block in blocks("sh") for line in block.splitlines() if line.startswith(command)]
        line = self.here(line.replace("sudo ", "").replace(" -g standpipe", ""))
        done = subprocess.run(line, shell=True, cwd=self.root, env=self.environment, capture_output=True, text=True,
                              timeout=LIMIT, **options)
        if done.returncode != 0:
            raise AssertionError(f"{line}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def service(self):
        """The command of the service, with the sockets and the environment of the units."""
        file = Path(self.here(setting("standpipe.service", "EnvironmentFile").removeprefix("-")))
        variables = dict(line.split("=", 1) for line in file.read_text().splitlines() if line and not line.startswith("#"))
        listeners = [("standpipe.socket", "-l"), ("standpipe-admin.socket", "-l")]
        listen = [part for unit, flag in listeners for part in (flag, self.here(setting(unit, "ListenStream")))]
        names = ":".join(setting(unit, "FileDescriptorName") for unit, _ in listeners)
        program, *flags = shlex.split(setting("standpipe.service", "ExecStart"))
        assert program == "/usr/bin/standpipe"
        passed_on = [part for name in ["PATH", *variables] for part in ("-E", name)]
        command = ["systemd-socket-activate", *listen, f"--fdname={names}", *passed_on, STANDPIPE, *flags]
        return Program(command, env={**self.environment, **variables})

    def caddy(self):
        caddyfile = self.root / "etc/caddy/Caddyfile"
        return Program(["caddy", "run", "--adapter", "caddyfile", "--config", caddyfile], env=self.environment)

    def tls(self):
        """Connects to the site, and trusts Caddy's authority."""
        context = ssl.create_default_context(cafile=self.root / "caddy/pki/authorities/local/root.crt")
        stream = socket.create_connection(("127.0.0.1", self.https), LIMIT)
        return context.wrap_socket(stream, server_hostname=SITE)

    def get(self, path, headers=None):
        """Returns the beginning of the site's answer, or of the opening handshake with these headers."""
        with self.tls() as stream:
            if headers is None:
                stream.sendall(f"GET {path} HTTP/1.1\r\nHost: {SITE}\r\nConnection: close\r\n\r\n".encode())
            else:
                stream.sendall(upgrade_head(self.https, path, {"Host": SITE, **headers}))
            return stream.recv(4096)


class FirstService(unittest.TestCase):
    def test_steps_of_the_guide_lead_to_a_service(self):
        with tempfile.TemporaryDirectory() as directory:
            machine = Deployment(directory)
            machine.run("openssl rand")
            machine.write_files()
            self.assertIn("max-clients-per-ip = 100", machine.run("sudo standpipe check-config"))
            with machine.service() as service, machine.caddy() as caddy:
                wait_until("systemd-socket-activate listens", lambda: "Listening on" in service.log() and machine.admin.exists())
                self.assertEqual(machine.run("curl http://127.0.0.1:9000/readyz"), "ready\n", service.log())
                authority = machine.root / "caddy/pki/authorities/local/root.crt"
                wait_until("Caddy listens", lambda: authority.exists() and accepts(machine.https), 60)
                self.check_site(machine, service)
                self.check_application(machine)
                self.assertEqual(caddy.process.poll(), None, caddy.log())

    def check_site(self, machine, service):
        self.assertIn(b"ready", machine.get("/readyz"))
        self.assertEqual(status(machine.get("/metrics")), 404)
        site = {"Origin": f"https://{SITE}"}
        self.assertEqual(status(machine.get("/ws/chat-42", site)), 401, service.log())
        machine.run("sudo standpipe token")
        token = (machine.root / "ann.token").read_text().strip()
        bearer = {**site, "Authorization": f"Bearer {token}"}
        self.assertEqual(status(machine.get("/ws/chat-42", bearer)), 101, service.log())
        self.assertEqual(status(machine.get("/ws/prices", bearer)), 403)
        foreign = {**bearer, "Origin": "https://elsewhere.example"}
        self.assertEqual(status(machine.get("/ws/chat-42", foreign)), 403)
        self.assertEqual(machine.run("standpipe client", input="hello\n"), "hello\n")
        # The address that Caddy has told. The address of Caddy's own connection would have a port.
        self.assertRegex(service.log(), r"#\d+ 127\.0\.0\.1 GET /ws/chat-42: 401")

    def check_application(self, machine):
        published = json.loads(machine.run("sudo curl --unix-socket"))
        self.assertIn("id", published)
        # The clients find both messages in the history.
        history = subprocess.run(["curl", "-sS", "--unix-socket", machine.admin, "http://localhost/topics/chat-42/history"],
                                 capture_output=True, text=True, timeout=LIMIT, check=True)
        self.assertEqual([message["data"] for message in json.loads(history.stdout)], ["hello", "hello"])


if __name__ == "__main__":
    unittest.main()
