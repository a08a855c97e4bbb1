#!/usr/bin/env python3
"""Compare standpipe with other servers, or with an older build of itself, on the same workloads in one run.

    compare.py --standpipe target/release/standpipe [--rounds 3] [--secs 2] [--peers a,b] [WORKLOAD ...]
    compare.py --standpipe target/release/standpipe --old PATH [--rounds 3] [WORKLOAD ...]
    compare.py --standpipe target/release/standpipe --tls [--rounds 15] [--secs 1] [--peers tokio_tung] [WORKLOAD ...]

The servers take turns (A B C, then C B A, ...), each alone with the load generator, so that a machine that becomes
slower or faster during the run affects all of them. The server and the load generator share one core (--cores 0).
A figure is then the cost of the work, and does not depend on where the scheduler places a thread or on how long an idle
core takes to wake. With two cores, the same server's echo-1 was seen at 17 us and at 80 us. --cores all uses the
whole machine.

Prints the median of each figure and the ratio to standpipe. --json FILE writes the figures of every round.

--peers names the peers to run: a list, all, or none. The default is all, and none with --old. The workloads json-*
use standpipe's own protocol, so no peer runs them.

--old PATH also runs an older standpipe binary, with the same arguments. For each workload, the line "new/old" has the
median of the ratios of the single rounds, and for the first figure the smallest and the largest of these ratios.

--tls runs every server with TLS: 1.3 and AES-256-GCM with all of them, with the certificate of tests/keys/tls. The peer
tokio_tung then is tokio-rustls with tokio-tungstenite, with the rustls and the provider of standpipe. "plain" is
standpipe without TLS. The load generator does its half of TLS on the same core, so the main figure is the
processor time of the server for each message. For each other server, a line has the median of the ratios of standpipe to
it in the single rounds, and for the processor time the smallest and the largest of these ratios.

Builds the load generator and the Rust peers with cargo. gorilla needs Debian's golang-go and
golang-github-gorilla-websocket-dev, ws needs npm, and websockets needs its Python package. A peer that is not available
is named and left out. Build output goes to $BENCH_CACHE, or to a directory of its own below the temporary one.
The exit code is 1 if any run failed.
"""
import argparse, json, os, re, resource, shutil, signal, socket, statistics, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get("BENCH_CACHE", os.path.join(os.environ.get("TMPDIR", "/tmp"), "standpipe-bench"))
WORKLOADS = {
    "echo-1": ("echo", "--conns 1 --window 1 --size 64"),
    "echo-100": ("echo", "--conns 100 --window 1 --size 64"),
    "echo-pipelined": ("echo", "--conns 10 --window 64 --size 64"),
    "echo-4k": ("echo", "--conns 10 --window 16 --size 4096"),
    "echo-1m": ("echo", "--conns 4 --window 2 --size 1048576"),
    "fan-1000": ("fanout", "--conns 1000 --window 1 --size 128"),
    "fan-1000-burst": ("fanout", "--conns 1000 --window 16 --size 128"),
    "fan-100": ("fanout", "--conns 100 --window 4 --size 1024"),
    "json-fan-100": ("jsonfan", "--conns 100 --window 16 --size 128"),
    "idle-2000": ("idle", "--conns 2000"),
}
PATHS = {"echo": "/echo", "idle": "/echo", "fanout": "/ws/bench", "jsonfan": "/ws"}
ECHO_ONLY = {"limit", "fastws"}
STANDPIPE = {"standpipe", "old", "plain"}
# The peers that speak TLS.
TLS = {"tokio_tung", "gorilla", "node_ws", "websockets"}
KEYS = os.path.join(HERE, "..", "..", "tests", "keys", "tls")
CERTIFICATE = [os.path.join(KEYS, "server.pem"), os.path.join(KEYS, "server.key")]


def sh(cmd, **kw):
    return subprocess.run(cmd, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)


def cargo(crate):
    """Builds one of the crates beside this file, and returns the directory of its binaries."""
    os.makedirs(CACHE, exist_ok=True)
    target = os.path.join(CACHE, "target")
    r = sh(f"cargo build --locked --release -q --manifest-path {HERE}/{crate}/Cargo.toml", env={**os.environ, "CARGO_TARGET_DIR": target})
    if r.returncode:
        sys.exit(f"could not build {crate}: {r.stdout[-800:]}")
    return os.path.join(target, "release")


def raise_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def standpipe(binary, tls):
    command = [binary, "serve", "--listen", "127.0.0.1:{port}", "--max-message", "2MiB", "--queue-bytes", "8MiB", "--allow-any-origin"]
    return command + ["--tls-cert", CERTIFICATE[0], "--tls-key", CERTIFICATE[1]] if tls else command


def peers(tls):
    """Builds or installs the other servers, and returns the command line of each one that is available."""
    rel = cargo("peers")
    found = {}
    for name in ("limit", "tung_naive", "tokio_tung", "fastws"):
        found[name] = [os.path.join(rel, name), "{mode}", "{port}"]
    go = os.path.join(CACHE, "gorilla")
    if shutil.which("go"):
        sh(f"go build -o {go} {HERE}/peers/gorilla.go", env={**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode"})
    if os.path.exists(go):
        found["gorilla"] = [go, "{mode}", "{port}"]
    else:
        print("gorilla: left out (apt-get install golang-go golang-github-gorilla-websocket-dev)", file=sys.stderr)
    mods = os.path.join(CACHE, "node_modules")
    if not os.path.isdir(os.path.join(mods, "ws")) and shutil.which("npm"):
        sh(f"npm install --prefix {CACHE} --no-audit --no-fund ws@8")
    if os.path.isdir(os.path.join(mods, "ws")):
        found["node_ws"] = ["env", f"NODE_PATH={mods}", "node", f"{HERE}/peers/ws_node.js", "{mode}", "{port}"]
    else:
        print("node_ws: left out (npm)", file=sys.stderr)
    if not sh(f"{sys.executable} -c 'import websockets.sync.server'").returncode:
        found["websockets"] = [sys.executable, f"{HERE}/peers/websockets_sync.py", "{mode}", "{port}"]
    else:
        print("websockets: left out (pip install websockets)", file=sys.stderr)
    return {name: command + CERTIFICATE for name, command in found.items() if name in TLS} if tls else found


def runs(name, kind):
    """Returns whether the server `name` can run a workload of this kind."""
    if name in STANDPIPE:
        return True
    return kind != "jsonfan" and not (kind == "fanout" and name in ECHO_ONLY)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def figures(out):
    """Returns the figures that the load generator printed, or the reason why it measured nothing."""
    line = out.stdout.strip().splitlines()[-1] if out.stdout.strip() else "no output"
    found = {k: float(v) for k, v in re.findall(r"(\w+)=([-\d.]+)", line)}
    measured = out.returncode == 0 and ("msgs_per_s" in found or "rss_kib_per_conn" in found)
    return found if measured else {"failed": line[:160]}


def wait_for_server(port):
    """Waits up to five seconds until a server listens on `port`."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    time.sleep(0.2)


def run(name, cmd, kind, load, loadgen, secs, cores, tls):
    port = free_port()
    path = PATHS[kind] if name in STANDPIPE else "/"
    mode = "hub" if kind == "fanout" else "echo"
    pin = [] if cores == "all" else ["taskset", "-c", cores]
    secure = ["--tls", os.path.join(KEYS, "ca.pem")] if tls and name != "plain" else []
    cmd = pin + [c.format(mode=mode, port=port) for c in cmd]
    # Otherwise the server would leave a key file behind when it is killed. An older binary ignores the variable.
    server = subprocess.Popen(cmd, env={**os.environ, "STANDPIPE_ADMIN_OPEN": "true"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(port)
        out = subprocess.run([*pin, loadgen, kind, f"127.0.0.1:{port}", path, *load.split(), "--secs", str(secs), "--pid", str(server.pid), *secure],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 + secs)
        return figures(out)
    except subprocess.TimeoutExpired:
        return {"failed": "the load generator did not end in time"}
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def medians(rounds, keys):
    measured = [r for r in rounds if keys[0] in r]
    return {k: statistics.median(r[k] for r in measured) for k in keys} if measured else None


def ratios_to(name, rows, keys, main):
    """Returns the line that compares standpipe with another server, round by round. `main` is the figure with a range."""
    title = "new/old" if name == "old" else f"/{name}"
    pairs = [(own, other) for own, other in zip(rows["standpipe"], rows[name]) if keys[0] in own and keys[0] in other]
    if not pairs:
        return f"{title:14} no round in which both measured something"
    ratios = {k: [own[k] / other[k] for own, other in pairs if other[k]] for k in keys}
    line = f"{title:14}" + "".join(f"{statistics.median(r):22.3f}" if r else f"{'-':>22}" for r in ratios.values())
    return line + (f"   {main}: {min(ratios[main]):.3f} to {max(ratios[main]):.3f}" if ratios[main] else "")


def report(workload, rows, rounds, tls):
    kind, load = WORKLOADS[workload]
    keys = ["rss_kib_per_conn", "threads_per_conn", "connect_per_s"] if kind == "idle" else ["msgs_per_s", "p50_us", "p99_us", "server_cpu_us_per_msg"]
    print(f"\n{workload}: {kind} {load}, medians of {rounds}\n{'':14}" + "".join(f"{k:>22}" for k in keys) + f"{'standpipe is':>16}")
    median = {name: medians(measured, keys) for name, measured in rows.items()}
    own = median.get("standpipe")
    for name, measured in rows.items():
        if not median[name]:
            print(f"{name:14} failed: {measured[-1].get('failed', '?')}")
            continue
        ratio = f"{own[keys[0]] / median[name][keys[0]]:15.2f}x" if own else ""
        print(f"{name:14}" + "".join(f"{median[name][k]:22.2f}" for k in keys) + ratio)
    if "standpipe" in rows:
        for name in rows:
            if name == "old" or tls and name != "standpipe":
                print(ratios_to(name, rows, keys, keys[0] if name == "old" or kind == "idle" else "server_cpu_us_per_msg"))
    sys.stdout.flush()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--standpipe")
    ap.add_argument("--old", help="an older standpipe binary, to compare --standpipe with")
    ap.add_argument("--tls", action="store_true", help="run the servers that speak TLS, and standpipe without it")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--secs", type=float, default=2)
    ap.add_argument("--peers", help="names with commas between them, all, or none")
    ap.add_argument("--cores", default="0", help="taskset list for the server and the load generator, or all")
    ap.add_argument("--json")
    ap.add_argument("workload", nargs="*", default=[])
    a = ap.parse_args()
    raise_descriptors()
    unknown = [w for w in a.workload if w not in WORKLOADS]
    if unknown:
        ap.error(f"there is no workload {unknown[0]}; the workloads are {', '.join(WORKLOADS)}")
    if a.old and not a.standpipe:
        ap.error("--old needs --standpipe")
    servers = {}
    for name, binary in (("standpipe", a.standpipe), ("old", a.old)):
        if binary and not os.access(binary, os.X_OK):
            ap.error(f"{binary} is not a program; cargo build --release builds one")
        if binary:
            servers[name] = standpipe(binary, a.tls)
    if a.tls and a.standpipe:
        servers["plain"] = standpipe(a.standpipe, False)
    loadgen = os.path.join(cargo("loadgen"), "loadgen")
    workloads = a.workload or list(WORKLOADS)
    wanted = a.peers or ("none" if a.old else "all")
    if wanted != "none" and any(WORKLOADS[w][0] != "jsonfan" for w in workloads):
        servers |= {name: cmd for name, cmd in peers(a.tls).items() if wanted == "all" or name in wanted.split(",")}
    kept = {}
    for w in workloads:
        kind, load = WORKLOADS[w]
        names = [name for name in servers if runs(name, kind)]
        kept[w] = rows = {name: [] for name in names}
        for i in range(a.rounds):
            for name in names[::-1] if i % 2 else names:
                rows[name].append(run(name, servers[name], kind, load, loadgen, a.secs, a.cores, a.tls))
        report(w, rows, a.rounds, a.tls)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(kept, f, indent=1)
    if any("failed" in r for rows in kept.values() for rounds in rows.values() for r in rounds):
        sys.exit("some runs failed")


if __name__ == "__main__":
    main()
