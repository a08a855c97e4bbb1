"""Runs the static program in a directory that contains nothing else, and reports its throughput beside that of the program
with glibc:

    .ci/static_program.py STATIC GLIBC
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request

STATIC, GLIBC = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
# Each measurement is repeated in turns, because other programs may be running.
ROUNDS = 3
SECONDS = 1


class Server:
    """A server on a free port. It must end with code 0."""

    def __init__(self, command, **options):
        self.process = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", "--admin-open"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, **options)
        line = self.process.stdout.readline()
        found = re.search(r"http://([\d.:]+)/", line)
        if not found:
            self.process.kill()
            sys.exit(f"{command} did not say where it listens: {line!r}")
        self.address = found[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=20)
        finally:
            self.process.kill()
        self.process.stdout.close()
        if code != 0:
            sys.exit(f"the server ended with {code}")


def start_in_an_empty_directory():
    if os.geteuid() != 0:
        print("not checked: a start in an empty directory needs root")
        return
    with tempfile.TemporaryDirectory() as root:
        shutil.copy(STATIC, root)
        os.chmod(root, 0o755)

        def enter():
            os.chroot(root)
            os.chdir("/")
            # The user of packaging/docker/Dockerfile.
            os.setgid(65534)
            os.setuid(65534)

        with Server(["/standpipe"], preexec_fn=enter, env={}) as server:
            for path in ("healthz", "readyz", ""):
                with urllib.request.urlopen(f"http://{server.address}/{path}", timeout=10) as answer:
                    assert answer.status == 200, (path, answer.status)
    print("the static program serves in a directory that contains nothing else")


def bench(server, *flags):
    # Both servers get the same load generator.
    output = subprocess.run([GLIBC, "bench", *flags, "--time", f"{SECONDS}s"], capture_output=True, text=True, timeout=60)
    found = re.search(r"(\d+) msgs/s", output.stdout)
    if not found:
        sys.exit(f"no rate in {output.stdout!r} {output.stderr!r}")
    return float(found[1])


def throughput():
    kinds = {
        "echo, 1 client": lambda at: [f"ws://{at}/echo", "--clients", "1", "--window", "64"],
        "echo, 20 clients": lambda at: [f"ws://{at}/echo", "--clients", "20", "--window", "16"],
        "echo, 4 KiB": lambda at: [f"ws://{at}/echo", "--clients", "4", "--window", "8", "--size", "4096"],
        "fan-out, 50 clients": lambda at: [f"ws://{at}/ws/t", "--kind", "fanout", "--clients", "50", "--window", "32"],
    }
    rates = {kind: ([], []) for kind in kinds}
    with Server([GLIBC]) as glibc, Server([STATIC]) as static:
        for _ in range(ROUNDS):
            for kind, flags in kinds.items():
                for server, found in zip((glibc, static), rates[kind]):
                    found.append(bench(server, *flags(server.address)))
    print(f"messages per second, the middle one of {ROUNDS} runs   glibc        musl   musl/glibc")
    for kind, found in rates.items():
        with_glibc, with_musl = (sorted(each)[ROUNDS // 2] for each in found)
        print(f"{kind:46}{with_glibc:10,.0f}  {with_musl:10,.0f}   {with_musl / with_glibc:10.2f}")


start_in_an_empty_directory()
throughput()
