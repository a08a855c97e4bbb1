#!/usr/bin/env python3
"""Measures the constants of `model.py` again, and compares the model with 2, 3 and 4 hub processes on one Redis.

    cargo build --release
    python3 benches/machines/check.py [--standpipe target/release/standpipe] [--rounds 3] [--quick]

Starts `redis-server` and the hubs on loopback. Publishers (JSON mode) are clients of the first hub. Members (raw mode)
are clients of every hub, one for each topic. The figures are processor time per message: of Redis from `INFO cpu`, of the
hubs from `/proc/PID/stat`. What the processes use while nothing is published is subtracted. Rates are not compared,
because hubs, Redis and clients share the cores.

The constants come from one hub without members, and from the same hub beside a second one, where one member or eleven
members for each topic are. The runs that are compared have a member for each topic at every hub, so they are predictions.
"""
import argparse
import os
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, fields

import model

TOPICS = 8
SIZE = 100
RECORD = 15          # bytes around a message in its record, for a publish number of three bytes
FRAME = 2 + SIZE     # bytes of a message on a member's connection
HISTORY = 128
TICK = 1 / os.sysconf("SC_CLK_TCK")
ARRIVES = 30.0       # seconds that anything may take


@dataclass
class Shape:
    """How many clients publish, and how many messages each of them sends together before it waits for the answers."""
    publishers: int
    together: int
    messages: int


SHAPES = {"alone": Shape(1, 1, 8_000), "busy": Shape(64, 1, 32_000), "together": Shape(16, 16, 256_000)}


class Redis:
    """A server without persistence, and a connection for its figures."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.directory = tempfile.mkdtemp(prefix="standpipe-model-")
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--client-output-buffer-limit", "pubsub 256mb 64mb 60"],
            cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + ARRIVES
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=ARRIVES)
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)   # There is no event for the listening socket of another process.
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        self.socket.sendall(command(words))
        return self.reply()

    def reply(self):
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return int(rest) if kind == b":" else rest

    def info(self, section):
        return dict(line.split(":", 1) for line in self.call("INFO", section).decode().splitlines() if ":" in line)

    def processor(self):
        info = self.info("cpu")
        return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])

    def stop(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Hub:
    def __init__(self, program, redis, history):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("STANDPIPE_")}
        self.process = subprocess.Popen(
            [program, "serve", "--listen", "127.0.0.1:0", "--redis", f"redis://127.0.0.1:{redis.port}",
             # A machine with other work may hold up Redis for longer than the default of 500 ms.
             "--redis-timeout", "5s",
             "--topic", f"*:policy=drop-oldest,queue=4096,history={history}", "--queue", "4096"],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found = re.search(r"127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        if not found:
            raise RuntimeError("the hub did not print its address")
        self.port = int(found[1])
        # The rest of the output is read, so that the hub never waits for the pipe.
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def processor(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            after_name = file.read().rsplit(") ", 1)[1].split()
        return (int(after_name[11]) + int(after_name[12])) * TICK

    def connect(self, path, protocol=None):
        stream = socket.create_connection(("127.0.0.1", self.port), timeout=ARRIVES)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        offered = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        stream.sendall((f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: Upgrade\r\n"
                        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{offered}"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = stream.recv(1)
            if not byte:
                raise RuntimeError("the hub closed the connection")
            head += byte
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(f"no WebSocket: {head!r}")
        return stream

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def client_frame(text):
    """Returns a masked text frame. The mask is zero, which a server cannot know in advance."""
    payload = text.encode()
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else bytes([0x80 | 126]) + length.to_bytes(2, "big")
    return b"\x81" + size + bytes(4) + payload


class Members:
    """Clients that discard what they receive. A thread reads from all of them."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.sockets = []
        self.bytes = 0
        self.expected = 0
        self.arrived = threading.Event()
        self.failed = None
        self.ended = False

    def add(self, stream):
        stream.setblocking(False)
        self.sockets.append(stream)
        self.selector.register(stream, selectors.EVENT_READ, {"last": b""})

    def start(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ended:
            for key, _ in self.selector.select(0.2):
                data = key.fileobj.recv(1 << 20)
                if not data:
                    self.failed = f"a member was disconnected after {key.data['last']!r}"
                    self.arrived.set()
                    return
                self.bytes += len(data)
                key.data["last"] = data[-60:]
            if self.expected and self.bytes >= self.expected:
                self.arrived.set()

    def wait(self, messages):
        """Waits until all members together have received this many messages."""
        self.expected = messages * FRAME
        if messages and not self.arrived.wait(ARRIVES):
            raise RuntimeError(f"members have received {self.bytes / FRAME:.0f} of {messages} messages")
        if self.failed:
            raise RuntimeError(self.failed)

    def stop(self):
        self.ended = True
        self.thread.join()
        for stream in self.sockets:
            stream.close()


def publish(hub, shape):
    """Publishes, and returns the number of messages of each topic."""
    rounds = shape.messages // (shape.publishers * shape.together)
    selector = selectors.DefaultSelector()
    counts = [0] * TOPICS
    for number in range(shape.publishers):
        stream = hub.connect("/ws", "standpipe.v1")
        topic = number % TOPICS
        counts[topic] += rounds * shape.together
        batch = b"".join(client_frame('{"pub":"t%d","data":"%s","ref":1}' % (topic, "x" * SIZE)) for _ in range(shape.together))
        selector.register(stream, selectors.EVENT_READ, {"batch": batch, "left": rounds, "acks": 0, "tail": b""})
    open_publishers = list(selector.get_map().values())
    for key in open_publishers:
        key.fileobj.sendall(key.data["batch"])
    running = shape.publishers
    while running:
        events = selector.select(ARRIVES)
        if not events:
            raise RuntimeError("no answer to a publish")
        for key, _ in events:
            state = key.data
            data = state["tail"] + key.fileobj.recv(1 << 16)
            if b'"error"' in data or len(data) == len(state["tail"]):
                raise RuntimeError(f"a publisher got {data[-300:]!r}")
            state["acks"] += data.count(b'"ack"')
            state["tail"] = data[-4:]    # may be the beginning of the next "ack"
            if state["acks"] == shape.together:
                state["acks"] = 0
                state["left"] -= 1
                if state["left"]:
                    key.fileobj.sendall(state["batch"])
                else:
                    running -= 1
    for key in open_publishers:
        key.fileobj.close()
    return counts


@dataclass
class Cost:
    """µs of processor time per message: of Redis, of the first hub, and of each other hub on average."""
    redis: float
    first: float
    other: float


def run(program, shape, members, history=0):
    """Publishes at the first hub. `members` has the members for each topic of each hub, the first one included."""
    redis = Redis()
    started = []
    try:
        started = [Hub(program, redis, history) for _ in members]
        deadline = time.monotonic() + ARRIVES
        while int(redis.info("clients")["connected_clients"]) < 1 + 2 * len(members):
            if time.monotonic() > deadline:
                raise RuntimeError("the hubs do not connect to Redis")
            time.sleep(0.05)
        listeners = Members()
        for hub, count in zip(started, members):
            for topic in range(TOPICS):
                for _ in range(count):
                    listeners.add(hub.connect(f"/ws/t{topic}"))
        listeners.start()
        time.sleep(0.3)      # The hubs have to become quiet before the time of an idle second is taken.
        idle = usage(redis, started)
        time.sleep(1)
        idle = [now - before for now, before in zip(usage(redis, started), idle)]
        before, began = usage(redis, started), time.monotonic()
        counts = publish(started[0], shape)
        listeners.wait(sum(counts) * sum(members))
        took = time.monotonic() - began
        used = [now - then - took * rest for now, then, rest in zip(usage(redis, started), before, idle)]
        listeners.stop()
        each = [time * 1e6 / sum(counts) for time in used]
        return Cost(each[0], each[1], statistics.mean(each[2:]) if len(members) > 1 else 0.0)
    finally:
        for hub in started:
            hub.stop()
        redis.stop()


def usage(redis, hubs):
    return [redis.processor()] + [hub.processor() for hub in hubs]


def least(costs):
    """Returns the least of each figure, because other processes on the machine only ever add to it."""
    return Cost(*(min(getattr(cost, field.name) for cost in costs) for field in fields(Cost)))


def measure(program, shape, rounds):
    """Runs all configurations in turns, so that a slow phase of the machine affects all of them."""
    setups = {"nobody": ([0],), "kept": ([0], HISTORY), "one": ([0, 1],), "eleven": ([0, 11],),
              2: ([1] * 2,), 3: ([1] * 3,), 4: ([1] * 4,)}
    costs = {name: [] for name in setups}
    for _ in range(rounds):
        for name, setup in setups.items():
            costs[name].append(run(program, shape, *setup))
    return {name: least(found) for name, found in costs.items()}


def constants(name, found):
    """Returns the constants of this load."""
    nobody, one, eleven = found["nobody"], found["one"], found["eleven"]
    deliver = (eleven.other - one.other) / 10
    return model.Load(name, script=nobody.redis, script_history=found["kept"].redis, receiver=one.redis - nobody.redis,
                      publish=nobody.first, receive=one.other - deliver, deliver=deliver)


class Script:
    """Calls of the script that publishes, as a hub makes them, with messages of SIZE bytes."""

    def __init__(self, redis):
        self.redis = redis
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, "../../src/redis/publish.lua"), "rb") as file:
            self.digest = redis.call("SCRIPT", "LOAD", file.read())

    def words(self, topic, together, keep):
        # What is around a message: its length, version, kind, flags, hub, number on the hub, no client.
        record = b"x" * (RECORD + SIZE)
        records = (b"%d " % len(record) + record) * together
        keys = [f"standpipe:{{{topic}}}:{kind}" for kind in "isc"]
        return ["EVALSHA", self.digest, 2, *keys[:2], 9 * 10**15, "00000001", 0, keep, 24 * 3_600_000, keys[2],
                together, records]

    def publish(self, topic, together, keep):
        return self.redis.call(*self.words(topic, together, keep))


def command(words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def memory():
    """Prints the memory that Redis needs for a topic, measured without a hub."""
    redis = Redis()
    try:
        script = Script(redis)
        script.publish("room-1234", 1, 0)
        counter = redis.call("MEMORY", "USAGE", "standpipe:{room-1234}:i")
        print(f"memory in bytes: counter {counter} (model {model.COUNTER}); "
              f"subscription {subscription(redis):.0f} (model {model.SUBSCRIPTION})")
        print(f"  in the model: stream with 1 message {model.STREAM_LEAST}, each further message {model.STREAM_MESSAGE}")
        for node_bytes in (4096, 1024):
            redis.call("CONFIG", "SET", "stream-node-max-bytes", node_bytes)
            for together in (1, 16):
                print(f"  history of {HISTORY}, stream-node-max-bytes {node_bytes}, {together} together: "
                      f"{history(redis, script, together)}")
    finally:
        redis.stop()


def history(redis, script, together):
    """Returns what a stream needs with one call, with HISTORY messages, and at most after twenty times as many."""
    redis.call("DEL", "standpipe:{kept}:s", "standpipe:{kept}:i")
    used, messages = [], []
    for _ in range(20 * HISTORY // together):
        script.publish("kept", together, HISTORY)
        used.append(redis.call("MEMORY", "USAGE", "standpipe:{kept}:s", "SAMPLES", 0))
        messages.append(redis.call("XLEN", "standpipe:{kept}:s") * together)
    full = HISTORY // together
    return (f"{used[0]} after one call, {used[full - 1]} with {messages[full - 1]} messages; "
            f"later up to {max(used)} with {min(messages[full:])} to {max(messages)} messages")


def subscription(redis):
    before = int(redis.info("memory")["used_memory"])
    with socket.create_connection(("127.0.0.1", redis.port), timeout=ARRIVES) as stream:
        channels = [b"standpipe:{room-%d}:c" % n for n in range(10_000)]
        stream.sendall(command([b"SUBSCRIBE", *channels]))
        # Each channel is confirmed with a reply of six lines.
        replies = stream.makefile("rb")
        for _ in range(6 * len(channels)):
            replies.readline()
        return (int(redis.info("memory")["used_memory"]) - before) / len(channels)


def busy_server():
    """Measures a Redis that always has something to do: 16 calls of the script in each write, for 16 topics. Prints what
    a call costs, without a history and with one, and what each hub that receives it costs."""
    topics, receivers, rounds = 16, 8, 1500
    redis = Redis()
    try:
        script = Script(redis)
        costs = {}
        for together, keep, count in ((1, 0, 0), (1, HISTORY, 0), (1, 0, receivers), (16, 0, 0), (16, HISTORY, 0)):
            listeners = Members()
            for _ in range(count):
                stream = socket.create_connection(("127.0.0.1", redis.port), timeout=ARRIVES)
                stream.sendall(command(["SUBSCRIBE"] + ["standpipe:{%d}:c" % topic for topic in range(topics)]))
                listeners.add(stream)
            listeners.start()
            calls = b"".join(command(script.words(topic, together, keep)) for topic in range(topics))
            used = []
            for _ in range(5):
                before = redis.processor()
                for _ in range(rounds):
                    redis.socket.sendall(calls)
                    for _ in range(topics):
                        redis.reply()
                used.append((redis.processor() - before) * 1e6 / (rounds * topics))
            costs[together, keep, count] = min(used)
            listeners.stop()
        one, kept = costs[1, 0, 0], costs[1, HISTORY, 0]
        print(f"a Redis that is never idle: script {one:.2f} µs (model {model.SATURATED.script}), "
              f"with a history {kept:.2f} µs (model {model.SATURATED.script_history}), for each receiving hub "
              f"{(costs[1, 0, receivers] - one) / receivers:.2f} µs (model {model.SATURATED.receiver}); "
              f"a call with 16 messages {costs[16, 0, 0]:.2f} µs, with a history {costs[16, HISTORY, 0]:.2f} µs")
    finally:
        redis.stop()


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--standpipe", default=os.path.join(here, "../../target/release/standpipe"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages, one round")
    args = parser.parse_args()
    rounds = 1 if args.quick else args.rounds
    if not shutil.which("redis-server"):
        sys.exit("redis-server is not installed")
    memory()
    busy_server()
    worst = 1.0
    for name, shape in SHAPES.items():
        if args.quick:
            shape = Shape(shape.publishers, shape.together, shape.messages // 10)
        costs = measure(args.standpipe, shape, rounds)
        measured = constants(name, costs)
        print(f"\n{name}: {shape.publishers} publishers × {shape.together}; constants in µs, here / in model.py")
        known = {load.name: load for load in (model.ALONE, model.BUSY, model.TOGETHER)}[name]
        print("  " + ", ".join(f"{field.name} {getattr(measured, field.name):.2f} / {getattr(known, field.name):.2f}"
                               for field in fields(model.Load) if field.name != "name"))
        print(f"  {'µs of processor time per message':34} {'model':>8} {'measured':>9} {'ratio':>6}")
        for hubs in (2, 3, 4):
            found = costs[hubs]
            receiving = measured.receive + measured.deliver
            for what, predicted, actual in (
                ("Redis", measured.script + hubs * measured.receiver, found.redis),
                ("the hub of the publishers", measured.publish + receiving, found.first),
                ("each other hub", receiving, found.other),
            ):
                ratio = actual / predicted
                # A negative figure is one of too few messages.
                worst = max(worst, ratio, 1 / ratio) if ratio > 0 else float("inf")
                print(f"  {hubs} hubs: {what:26} {predicted:8.2f} {actual:9.2f} {ratio:6.2f}")
    print(f"\nthe largest difference between model and measurement is a factor of {worst:.2f}")


if __name__ == "__main__":
    main()
