"""The connection limit where the kernel's limits are hidden, and where address space is scarce. The server must not
abort: above its limit it answers 503."""

import re
import resource
import socket
import subprocess
import unittest

from support import STANDPIPE, Program, request, status, upgrade_head, wait_until

# Descriptors of this process that are not those of its clients.
SPARE = 100

# systemd's `ProcSubset=pid` mounts /proc in this way.
SUBSET = "mount -t proc -o subset=pid proc /proc"
# As in a bare chroot, nothing is in /proc.
EMPTY = "mount -t tmpfs none /proc"


def server(script, *flags, **options):
    """Starts the server from a shell, after it has run `script`. Returns the process, its port and its limit."""
    arguments = [STANDPIPE, "serve", "--listen", "127.0.0.1:0", *flags]
    program = Program(["/bin/sh", "-c", script + ' && exec "$0" "$@"', *arguments], **options)
    ready = lambda: "listening on" in program.log() or program.process.poll() is not None
    wait_until("the server printed its address", ready)
    log = program.log()
    port = re.search(r"listening on http://\S+?:(\d+)/", log)
    limit = re.search(r"connection limit: (\d+) \(set by (.*)", log)
    if not port or not limit:
        program.stop()
        raise AssertionError(log)
    return program, int(port[1]), int(limit[1]), limit[2]


def hidden(mount, *flags):
    """Starts the server where `mount` has replaced /proc. Returns None if this machine does not permit that."""
    probe = subprocess.run(["unshare", "--mount", "/bin/sh", "-c", mount], capture_output=True, check=False)
    if probe.returncode:
        raise unittest.SkipTest(f"unshare cannot hide /proc: {probe.stderr.decode().strip()}")
    # The shell in the new mount namespace becomes the server, so the process id stays the same.
    inner = f"exec unshare --mount /bin/sh -c '{mount} && exec \"$0\" \"$@\"' \"$0\" \"$@\""
    return server(f"true && {{ {inner}; }}", *flags)


class Flood:
    """Clients that stay connected. The end of the `with` block closes them."""

    def __init__(self, port):
        self.port = port
        self.admitted = []
        self.refused = 0

    def connect(self, count):
        for _ in range(count):
            stream = socket.create_connection(("127.0.0.1", self.port), 20)
            stream.sendall(upgrade_head(self.port))
            answer = status(stream.recv(4096))
            if answer == 101:
                self.admitted.append(stream)
            else:
                stream.close()
                self.refused += answer == 503

    def echoing(self):
        """Returns how many of the admitted clients still get their echo."""
        # A masked text frame with the mask 0 (RFC 6455, section 5.2), and the frame that comes back.
        for stream in self.admitted:
            stream.sendall(b"\x81\x82\0\0\0\0hi")
        return sum(stream.recv(64) == b"\x81\x02hi" for stream in self.admitted)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in self.admitted:
            stream.close()


class Limits(unittest.TestCase):
    def check_flood(self, program, port, limit):
        """Connects more clients than fit. The server serves as many as it has promised, and survives."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        if hard < limit + SPARE:
            self.skipTest(f"this process may have only {hard} descriptors, and the limit is {limit}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        with Flood(port) as flood:
            flood.connect(limit + 200)
            self.assertEqual((len(flood.admitted), flood.refused), (limit, 200))
            self.assertEqual(flood.echoing(), limit)
            self.assertIsNone(program.process.poll(), program.log()[-2000:])
        self.assertEqual(program.stop(), 0)

    def test_hidden_proc_sys_is_the_kernels_default(self):
        for mount, why in ((SUBSET, "No such file"), (EMPTY, "No such file")):
            with self.subTest(mount):
                program, _, limit, set_by = hidden(mount)
                with program:
                    # (65,530 - 2,048) / 8, or less on a small machine.
                    self.assertLessEqual(limit, 7935)
                    log = program.log()
                    maps = "vm.max_map_count (sysctl) = 65530 assumed, because /proc/sys/vm/max_map_count"
                    self.assertIn(f"{maps} cannot be read: {why}", log)
                    self.assertIn("kernel.pid_max (sysctl) = 32768 assumed", log)
                    self.assertRegex(log, r"kernel\.threads-max \(sysctl\) = \d+ assumed")
                    self.assertEqual("pids.max and memory.max" in log, mount == EMPTY, set_by)

    def test_flood_without_proc_sys_aborts_nothing(self):
        program, port, limit, _ = hidden(SUBSET)
        with program:
            self.check_flood(program, port, limit)

    def test_flood_without_address_space_aborts_nothing(self):
        for script in ("ulimit -v 400000", "ulimit -v 800000", "ulimit -d 200000"):
            with self.subTest(script):
                program, port, limit, set_by = server(f"export MALLOC_ARENA_MAX=1 && {script}")
                with program:
                    self.assertTrue(0 < limit < 2000, limit)
                    self.assertTrue(set_by.startswith(script[:9] + " in bytes"), set_by)
                    self.check_flood(program, port, limit)

    def test_arenas_count_as_used_address_space(self):
        program, port, limit, set_by = server("ulimit -v 300000")
        with program:
            self.assertEqual(limit, 0)
            self.assertIn("MALLOC_ARENA_MAX", set_by)
            self.assertEqual(request(port, "GET", "/healthz")[0], 200)
            self.assertEqual(program.stop(), 0)


if __name__ == "__main__":
    unittest.main()
