#!/usr/bin/env python3
"""Measure whether stalled subscribers slow down the other ones.

    stalled.py --standpipe target/release/standpipe [--rounds 5] [--secs 2] [--cores 0] [POLICY ...]

One topic has 50 subscribers that read, one of which publishes, and 0 or 10 subscribers that never read. The
measurement is made for each policy under which a publisher does not wait. Each round measures without the ten and then
with them, with a new server each time, so that a machine that becomes slower or faster during the run affects both.

For each policy, prints the medians of the deliveries per second to one reading subscriber, and their ratio. The exit
code is 1 if a ratio is below 0.8, if a reading subscriber was disconnected or missed a message, or if the ten were
never slow. The server and the load generator share one core, as in compare.py.
"""
import argparse, os, re, signal, statistics, subprocess, sys, urllib.request

from compare import cargo, figures, free_port, raise_descriptors, wait_for_server

POLICIES = ["drop-newest", "drop-oldest", "conflate", "disconnect"]
HEALTHY, STALLED, LEAST = 50, 10, 0.8


def counters(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {k: float(v) for k, v in re.findall(r'^standpipe_(\S+) (\d+)$', text, re.M)}


def run(policy, stalled, loadgen, a):
    """Returns the figures of one run. `slow` is the number of dropped messages, or of disconnected slow consumers."""
    port = free_port()
    pin = [] if a.cores == "all" else ["taskset", "-c", a.cores]
    server = subprocess.Popen([*pin, a.standpipe, "serve", "--listen", f"127.0.0.1:{port}", "--admin-open", "--policy", policy],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_server(port)
        out = subprocess.run([*pin, loadgen, "fanout", f"127.0.0.1:{port}", "/ws/bench", "--conns", str(HEALTHY + stalled),
                              "--stalled", str(stalled), "--size", "1024", "--window", "4", "--secs", str(a.secs), "--pid", str(server.pid)],
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 + a.secs)
        seen = counters(port)
        slow = seen.get('disconnects_total{by="slow_consumer"}', 0) if policy.startswith("disconnect") else seen["messages_dropped_total"]
        return {**figures(out), "slow": slow}
    except (subprocess.TimeoutExpired, OSError) as error:
        return {"failed": str(error)[:160]}
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--standpipe", required=True)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--secs", type=float, default=2)
    ap.add_argument("--cores", default="0", help="taskset list for both sides, or all")
    ap.add_argument("policy", nargs="*", default=POLICIES)
    a = ap.parse_args()
    if not os.access(a.standpipe, os.X_OK):
        ap.error(f"{a.standpipe} is not a program; cargo build --release builds one")
    raise_descriptors()
    loadgen = os.path.join(cargo("loadgen"), "loadgen")
    print(f"{HEALTHY} reading subscribers, 1 KiB, 4 messages outstanding; with and without {STALLED} stalled ones; medians of {a.rounds} rounds")
    print(f"{'':14}{'without, each /s':>17}{'with':>12}{'ratio':>8}{'p99 us without':>16}{'with':>12}")
    passed = True
    for policy in a.policy:
        rounds = {0: [], STALLED: []}
        for _ in range(a.rounds):
            for stalled, runs in rounds.items():
                runs.append(run(policy, stalled, loadgen, a))
        failed = [r["failed"] for runs in rounds.values() for r in runs if "failed" in r]
        if failed:
            passed = False
            print(f"{policy:14} failed: {failed[0]}")
            continue
        rate, p99 = ({s: statistics.median(r[key] for r in runs) for s, runs in rounds.items()} for key in ("msgs_per_s", "p99_us"))
        ratio = rate[STALLED] / rate[0]
        never = any(r["slow"] < STALLED for r in rounds[STALLED])
        passed = passed and ratio >= LEAST and not never
        print(f"{policy:14}{rate[0] / HEALTHY:17.0f}{rate[STALLED] / HEALTHY:12.0f}{ratio:8.2f}{p99[0]:16.0f}{p99[STALLED]:12.0f}"
              + ("   invalid: the stalled subscribers were never slow" if never else "") + (f"   below {LEAST}" if ratio < LEAST else ""))
        sys.stdout.flush()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
