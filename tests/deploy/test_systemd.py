"""The units of packaging/systemd: their sockets with systemd-socket-activate, their syntax and their restrictions.

systemd itself does not run here. `strace` shows what the server does, and each system call is compared with what the
service allows.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

from support import LIMIT, ROOT, STANDPIPE, Program, free_port, read_to_end, status, upgrade_head, wait_until

UNITS = ROOT / "packaging/systemd"
SERVICE = UNITS / "standpipe.service"


def settings(name):
    """Returns the values of a setting of the service, in their order."""
    return re.findall(rf"^{name}=(.*)$", SERVICE.read_text(), re.M)


def command():
    """Returns the command of the service, with the binary under test."""
    program, *flags = shlex.split(settings("ExecStart")[0])
    assert program == "/usr/bin/standpipe", program
    return [STANDPIPE, *flags]


def get(connect, path):
    with connect() as stream:
        stream.settimeout(LIMIT)
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return read_to_end(stream)


def unix(path):
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    return stream


class Activated(Program):
    """The service, started by systemd-socket-activate for its two sockets when the first client connects.

    `wrapper` is a command that runs the server.
    """

    def __init__(self, directory, wrapper=(), environment=None):
        self.port, self.admin = free_port(), f"{directory}/admin.sock"
        environment = {"PATH": os.environ["PATH"], **(environment or {})}
        passed_on = [part for name in environment for part in ("-E", name)]
        listeners = ["-l", f"127.0.0.1:{self.port}", "-l", self.admin]
        activate = ["systemd-socket-activate", *listeners, "--fdname=web:admin", *passed_on]
        super().__init__([*activate, *wrapper, *command()], env=environment)
        wait_until("systemd-socket-activate listens", lambda: "Listening on" in self.log() and os.path.exists(self.admin))

    def web(self):
        return socket.create_connection(("127.0.0.1", self.port), LIMIT)


class Sockets(unittest.TestCase):
    def test_sockets_are_passed_on_by_name(self):
        directory = self.enterContext(tempfile.TemporaryDirectory())
        manager = self.enterContext(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(f"{directory}/notify.sock")
        manager.settimeout(LIMIT)
        notify = {"NOTIFY_SOCKET": f"{directory}/notify.sock"}
        server = self.enterContext(Activated(directory, environment=notify))
        # This client starts the server, and waits in the backlog until then.
        self.assertEqual(status(get(server.web, "/healthz")), 200, server.log())
        ready = manager.recv(4096).decode()
        self.assertTrue(ready.startswith("READY=1\nSTATUS=listening on 127.0.0.1:"), ready)
        self.assertEqual(status(get(server.web, "/metrics")), 404, "the admin paths are on the other socket")
        self.assertEqual(status(get(lambda: unix(server.admin), "/metrics")), 200, server.log())
        with server.web() as client:
            client.sendall(upgrade_head(server.port))
            self.assertEqual(status(client.recv(4096)), 101)
            server.signal()
            self.assertEqual(manager.recv(4096).decode(), "STOPPING=1\n")
        self.assertEqual(server.wait(), 0, server.log())


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
class Units(unittest.TestCase):
    def copies(self):
        """Returns copies of the units that name the binary under test."""
        directory = self.enterContext(tempfile.TemporaryDirectory())
        for unit in UNITS.glob("*.s[eo]*[et]"):
            text = unit.read_text().replace("/usr/bin/standpipe", STANDPIPE)
            with open(f"{directory}/{unit.name}", "w", encoding="utf-8") as file:
                file.write(text)
        return [f"{directory}/{name}" for name in sorted(os.listdir(directory))]

    def test_units_are_valid(self):
        copies = self.copies()
        names = [os.path.basename(copy) for copy in copies]
        self.assertEqual(names, ["standpipe-admin.socket", "standpipe.service", "standpipe.socket"])
        run = subprocess.run(["systemd-analyze", "verify", *copies], capture_output=True, text=True, timeout=60)
        self.assertEqual((run.returncode, run.stdout + run.stderr), (0, ""))

    def test_service_is_hardened(self):
        service = next(copy for copy in self.copies() if copy.endswith(".service"))
        # In tenths; 0 is the best. A service without any restriction has 9.6.
        security = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", service]
        run = subprocess.run(security, capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_names_of_the_sockets_are_those_of_the_flags(self):
        flags = command()
        for unit, flag in (("standpipe", "--listen"), ("standpipe-admin", "--admin-listen")):
            name = re.search(r"^FileDescriptorName=(.*)$", (UNITS / f"{unit}.socket").read_text(), re.M)[1]
            self.assertEqual(flags[flags.index(flag) + 1], f"fd:{name}")


@unittest.skipUnless(shutil.which("strace") and shutil.which("systemd-analyze"), "strace or systemd-analyze is missing")
class Restrictions(unittest.TestCase):
    """What the server does, from its start to its end, is allowed by the service."""

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.directory.cleanup)
        trace = f"{cls.directory.name}/trace"
        # With -D, the server is the process that LISTEN_PID names, and strace is its grandchild.
        wrapper = ["strace", "-D", "-f", "-qq", "-o", trace]
        notify = f"{cls.directory.name}/notify.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(notify)
            manager.settimeout(LIMIT)
            environment = {"NOTIFY_SOCKET": notify, "WATCHDOG_USEC": "1000000"}
            with Activated(cls.directory.name, wrapper, environment) as server:
                assert status(get(server.web, "/healthz")) == 200, server.log()
                with server.web() as member:
                    member.settimeout(LIMIT)
                    member.sendall(upgrade_head(server.port, "/ws/topic"))
                    assert status(member.recv(4096)) == 101, server.log()
                    body = b"POST /publish/topic HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
                    with unix(server.admin) as publisher:
                        publisher.sendall(body)
                        assert status(read_to_end(publisher)) == 202
                    assert b"hello" in member.recv(4096)
                    for path in ("/metrics", "/dashboard", "/debug/clients"):
                        assert status(get(lambda: unix(server.admin), path)) == 200, path
                    server.signal(signal.SIGHUP)
                    while b"RELOADING=1" not in manager.recv(4096):
                        pass
                    server.signal()
                    assert server.wait() == 0, server.log()
        wait_until("strace has written the last call", lambda: "exit_group(0" in Path(trace).read_text(errors="replace"))
        lines = Path(trace).read_text(errors="replace").splitlines()
        cls.calls = [line.split(None, 1)[1] for line in lines if re.match(r"\d+ +\w+\(", line)]
        # Everything before the binary is started is not the server.
        started = next(n for n, call in enumerate(cls.calls) if call.startswith("execve(") and "standpipe" in call)
        cls.calls = cls.calls[started + 1 :]

    def test_system_calls_are_allowed(self):
        allowed = set()
        for setting in settings("SystemCallFilter"):
            if setting.startswith("~"):
                allowed -= self.group(setting[1:])
            else:
                allowed |= self.group(setting)
        used = {call.split("(", 1)[0] for call in self.calls}
        self.assertIn("accept4", used)
        self.assertIn("prlimit64", used)
        self.assertEqual(used - allowed, set())

    def group(self, name):
        """Returns the system calls of a group, with those of the groups in it."""
        run = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
        names = [line.strip() for line in run.stdout.splitlines()[1:]]
        calls = {name for name in names if name and not name.startswith(("#", "@"))}
        return calls.union(*(self.group(name) for name in names if name.startswith("@")))

    def test_address_families_are_allowed(self):
        allowed = set(settings("RestrictAddressFamilies")[0].split())
        used = {found[1] for call in self.calls if (found := re.match(r"socket(?:pair)?\((\w+)", call))}
        self.assertIn("AF_UNIX", used)
        self.assertEqual(used - allowed, set())

    def test_no_memory_is_writable_and_executable(self):
        self.assertEqual(settings("MemoryDenyWriteExecute"), ["yes"])
        both = [call for call in self.calls if "PROT_WRITE" in call and "PROT_EXEC" in call]
        self.assertEqual(both, [])

    def test_limits_in_proc_are_readable(self):
        # `ProcSubset=pid` would hide /proc/sys, and the server would assume the kernel's default (SECURITY.md, T45).
        self.assertEqual(settings("ProcSubset"), ["all"])
        read = [call for call in self.calls if "/proc/sys/vm/max_map_count" in call]
        self.assertTrue(read and all(" = -1 " not in call for call in read), read)

    def test_files_are_written_nowhere(self):
        # `ProtectSystem=strict` makes every file read-only, except below /run/standpipe.
        for call in self.calls:
            if re.match(r"(open|openat|creat|mkdir|mkdirat|unlink|rename)\w*\(", call) and " = -1 " not in call:
                self.assertNotRegex(call, r"O_WRONLY|O_RDWR|O_CREAT|^creat|^mkdir|^unlink|^rename")


if __name__ == "__main__":
    unittest.main()
