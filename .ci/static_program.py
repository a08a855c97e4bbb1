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
        found = re.search(r"https?://([\d.:]+)/", line)
        if not found:
            self.process.kill()
            sys.exit(f"{command} did not say where it listens: {line!r}")
        self.address = found[1]

    def processor_time(self):
        """Returns the seconds that the server has used."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

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
    keys = pathlib.Path("tests/keys/tls")
    with tempfile.TemporaryDirectory() as root:
        shutil.copy(STATIC, root)
        for name in ("server.pem", "server.key", "ca.pem"):
            shutil.copy(keys / name, root)
            os.chmod(pathlib.Path(root, name), 0o644)
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

        # The directory has no certificates of the system. SSL_CERT_FILE names some, and nothing is trusted without it.
        flags = ["--tls-cert", "/server.pem", "--tls-key", "/server.key"]
        with Server(["/standpipe", *flags], preexec_fn=enter, env={}) as server:
            for variables, code in (({"SSL_CERT_FILE": "/ca.pem"}, 0), ({}, 1)):
                publish = subprocess.run(
                    ["/standpipe", "pub", "--url", f"https://{server.address}", "t", "hello"], preexec_fn=enter,
                    env=variables, capture_output=True, text=True, timeout=20)
                assert publish.returncode == code, (variables, publish)
    print("the static program serves with TLS, and trusts the certificates of SSL_CERT_FILE")


def bench(server, *flags):
    """Returns messages per second, and the processor time of the server for each message, in microseconds."""
    before = server.processor_time()
    # Both servers get the same load generator.
    output = subprocess.run([GLIBC, "bench", *flags, "--time", f"{SECONDS}s"], capture_output=True, text=True, timeout=60)
    found = re.search(r"(\d+) messages received, (\d+) msgs/s", output.stdout)
    if not found:
        sys.exit(f"no rate in {output.stdout!r} {output.stderr!r}")
    return float(found[2]), (server.processor_time() - before) * 1e6 / float(found[1])


def throughput():
    kinds = {
        "echo, 1 client": lambda at: [f"ws://{at}/echo", "--clients", "1", "--window", "64"],
        "echo, 20 clients": lambda at: [f"ws://{at}/echo", "--clients", "20", "--window", "16"],
        "echo, 4 KiB": lambda at: [f"ws://{at}/echo", "--clients", "4", "--window", "8", "--size", "4096"],
        "fan-out, 50 clients": lambda at: [f"ws://{at}/ws/t", "--kind", "fanout", "--clients", "50", "--window", "32"],
    }
    found = {kind: ([], []) for kind in kinds}
    with Server([GLIBC]) as glibc, Server([STATIC]) as static:
        for _ in range(ROUNDS):
            for kind, flags in kinds.items():
                for server, results in zip((glibc, static), found[kind]):
                    results.append(bench(server, *flags(server.address)))
    print(f"the middle one of {ROUNDS} runs of {SECONDS} s with each; on a busy machine, only the processor time can be compared")
    print(f"{'':22}{'messages per second':>28}{'':8}{'processor time, µs/message':>32}")
    print(f"{'':22}{'glibc':>14}{'musl':>14}{'ratio':>8}{'glibc':>14}{'musl':>10}{'ratio':>8}")
    middle = lambda values: sorted(values)[ROUNDS // 2]
    for kind, (with_glibc, with_musl) in found.items():
        (rate, cost), (rate_musl, cost_musl) = (
            [middle(values) for values in zip(*results)] for results in (with_glibc, with_musl))
        print(f"{kind:22}{rate:14,.0f}{rate_musl:14,.0f}{rate_musl / rate:8.2f}"
              f"{cost:14.2f}{cost_musl:10.2f}{cost_musl / cost:8.2f}")


start_in_an_empty_directory()
throughput()
