#!/usr/bin/env python3
"""Standpipe beside its peers, on the same work, in one run.

    compare.py --standpipe target/release/standpipe [--rounds 3] [--secs 2] [--peers a,b] [WORKLOAD ...]

Servers take turns (A B C, A B C, ...), each alone with the load generator, so that a drift of the machine meets all
of them. Server and load generator share one core (--cores 0): then a figure is what the work costs, and does not hang
on where the scheduler puts a wake-up or how long an idle core takes to wake (with two cores the same server's echo-1 was
seen at 17 us and at 80 us). --cores all for the whole machine. Prints the median of each figure and the ratio to
standpipe; --json FILE keeps every round. Builds the load generator and the Rust peers with cargo; gorilla needs Debian's golang-go and golang-github-gorilla-websocket-dev,
ws needs npm, websockets needs its Python package; a peer that cannot be had is named and left out.
Exit code 1 if any run failed. What is built goes to $BENCH_CACHE, or a directory of its own below the temporary one.
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
    "idle-2000": ("idle", "--conns 2000"),
}
ECHO_ONLY = {"limit", "fastws"}


def sh(cmd, **kw):
    return subprocess.run(cmd, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)


def cargo(crate):
    """Builds one of the crates beside this file; the directory of its binaries."""
    os.makedirs(CACHE, exist_ok=True)
    target = os.path.join(CACHE, "target")
    r = sh(f"cargo build --locked --release -q --manifest-path {HERE}/{crate}/Cargo.toml", env={**os.environ, "CARGO_TARGET_DIR": target})
    if r.returncode:
        sys.exit(f"could not build {crate}: {r.stdout[-800:]}")
    return os.path.join(target, "release")


def raise_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def peers(standpipe):
    rel = cargo("peers")
    found = {"standpipe": None} if standpipe else {}
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
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def figures(out):
    """What the load generator printed, or why it measured nothing."""
    line = out.stdout.strip().splitlines()[-1] if out.stdout.strip() else "no output"
    found = {k: float(v) for k, v in re.findall(r"(\w+)=([-\d.]+)", line)}
    measured = out.returncode == 0 and ("msgs_per_s" in found or "rss_kib_per_conn" in found)
    return found if measured else {"failed": line[:160]}


def answers(port):
    """Waits, at most five seconds, until somebody listens there."""
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            time.sleep(0.05)
    time.sleep(0.2)


def run(name, cmd, kind, load, loadgen, secs, standpipe, cores):
    port = free_port()
    path = "/"
    if name == "standpipe":
        cmd = [standpipe, "serve", "--listen", f"127.0.0.1:{port}", "--max-message", "2MiB", "--queue-bytes", "8MiB", "--allow-any-origin"]
        path = "/ws/bench" if kind == "fanout" else "/echo"
    mode = "hub" if kind == "fanout" else "echo"
    pin = [] if cores == "all" else ["taskset", "-c", cores]
    cmd = pin + [c.format(mode=mode, port=port) for c in cmd]
    server = subprocess.Popen(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answers(port)
        out = subprocess.run([*pin, loadgen, kind, f"127.0.0.1:{port}", path, *load.split(), "--secs", str(secs), "--pid", str(server.pid)],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 + secs)
        return figures(out)
    except subprocess.TimeoutExpired:
        return {"failed": "no answer in time"}
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--standpipe")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--secs", type=float, default=2)
    ap.add_argument("--peers")
    ap.add_argument("--cores", default="0", help="taskset list for both sides, or all")
    ap.add_argument("--json")
    ap.add_argument("workload", nargs="*", default=[])
    a = ap.parse_args()
    raise_descriptors()
    unknown = [w for w in a.workload if w not in WORKLOADS]
    if unknown:
        ap.error(f"there is no workload {unknown[0]}; there are {', '.join(WORKLOADS)}")
    if a.standpipe and not os.access(a.standpipe, os.X_OK):
        ap.error(f"{a.standpipe} is no program; cargo build --release makes one")
    loadgen = os.path.join(cargo("loadgen"), "loadgen")
    found = peers(a.standpipe)
    if a.peers:
        found = {k: v for k, v in found.items() if k == "standpipe" or k in a.peers.split(",")}
    kept = {}
    for w in a.workload or WORKLOADS:
        kind, load = WORKLOADS[w]
        names = [n for n in found if not (kind == "fanout" and n in ECHO_ONLY)]
        rows = {n: [] for n in names}
        for _ in range(a.rounds):
            for n in names:
                rows[n].append(run(n, found[n], kind, load, loadgen, a.secs, a.standpipe, a.cores))
        kept[w] = rows
        keys = ["rss_kib_per_conn", "threads_per_conn", "connect_per_s"] if kind == "idle" else ["msgs_per_s", "p50_us", "p99_us", "server_cpu_us_per_msg"]
        print(f"\n{w}: {kind} {load}, medians of {a.rounds}\n{'':14}" + "".join(f"{k:>22}" for k in keys) + f"{'standpipe is':>16}")
        med = {n: {k: statistics.median(r[k] for r in rs if k in r) for k in keys} if any(keys[0] in r for r in rs) else None for n, rs in rows.items()}
        own = med.get("standpipe")
        for n in names:
            if not med[n]:
                print(f"{n:14} failed: {rows[n][-1].get('failed', '?')}")
                continue
            ratio = ""
            if own:
                r = own[keys[0]] / med[n][keys[0]]
                ratio = f"{r:15.2f}x"
            print(f"{n:14}" + "".join(f"{med[n][k]:22.2f}" for k in keys) + ratio)
        sys.stdout.flush()
    if a.json:
        with open(a.json, "w") as f:
            json.dump(kept, f, indent=1)
    if any("failed" in r for rows in kept.values() for rounds in rows.values() for r in rounds):
        sys.exit("some runs failed")


if __name__ == "__main__":
    main()
