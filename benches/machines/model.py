#!/usr/bin/env python3
"""How far several hubs on Redis go, up to a million clients, and which limit is reached first.

    python3 benches/machines/model.py [--clients N] [--nodes N]

The assumptions are the constants below. `check.py` measures those of the first group again, and compares the model with
runs of 2, 3 and 4 hub processes. The others are from src/BENCHMARKS.md and src/DRILLS.md, or facts of Redis.

The model adds up processor time. It knows no queues and no waiting, so plan with half of each limit.
"""
import argparse
from dataclasses import dataclass, replace

# --- Processor time in µs. Measured by check.py: virtual machine with 2 cores (AMD EPYC), Redis 7.0.15, 100 B messages ---


@dataclass
class Load:
    """What one message costs. `alone`: one message at a time, so every thread sleeps and wakes for each of them.
    `together`: 16 publishers, with 16 messages of a topic in each call."""
    name: str
    script: float          # Redis: the script, for each message of a topic without a history
    script_history: float  # Redis: the same, with a history
    receiver: float        # Redis: for each message and hub that receives it
    publish: float         # hub: for each message that a client of this hub publishes in JSON mode
    receive: float         # hub: for each message that it receives from Redis
    deliver: float         # hub: for each message and member that it is delivered to


ALONE = Load("alone", script=35.0, script_history=37.3, receiver=8.4, publish=52.5, receive=16.7, deliver=3.3)
# One message in each call, from 64 publishers: some messages share a turn of the event loop of Redis. The cost of
# a receiving hub for Redis is a difference of two figures, and was between -0.4 and 3.2 in single rounds.
BUSY = Load("busy", script=13.6, script_history=14.2, receiver=0.5, publish=35.6, receive=5.0, deliver=1.6)
TOGETHER = Load("together", script=1.8, script_history=2.6, receiver=0.3, publish=4.9, receive=0.7, deliver=0.5)
# The same as `busy` for a Redis that is never idle: it sends many messages to a hub in one write.
SATURATED = replace(BUSY, name="saturated", script=10.3, script_history=13.7, receiver=0.5)

# µs for each member of one topic with a thousand members, whose memory is in no cache: fan-1000 and fan-1000-burst on both
# cores (src/BENCHMARKS.md: 80 k and 1.72 M deliveries per second).
FAN_ALONE = replace(ALONE, deliver=12.5)
FAN_TOGETHER = replace(TOGETHER, deliver=0.58)

# --- Limits ---

CLIENTS_PER_HUB = 7_900       # clients: vm.max_map_count of a stock kernel (src/DRILLS.md, cap)
HUB_CORES = 2                 # cores of a hub's machine; clients and publishers use all of them
# A hub delivers the messages from Redis on one thread for each shard.
SUBSCRIBER_THREADS = 1
CONNECTS = 2_000              # clients per second that a hub accepts (src/BENCHMARKS.md: 2.0 k; src/DRILLS.md: 3.6 k)
EGRESS = 125e6                # bytes per second: 1 Gbit/s
CHANNEL_MESSAGE = 160         # bytes on the wire from Redis for a message of 100 B: payload header, record, channel, RESP

# --- Memory of Redis in bytes. Measured by check.py with MEMORY USAGE and INFO memory ---

COUNTER = 120                 # for each topic: the key with its last id
SUBSCRIPTION = 240            # for each topic and hub with members
STREAM_LEAST = 4_752          # for each topic with a history, even with one message: Redis allocates a node of the stream
STREAM_MESSAGE = 150          # for each further message of 100 B; 110 if 16 are published together

CONNECTIONS_PER_HUB = 3       # to each Redis


def hubs_of_a_room(members: int, hubs: int) -> float:
    """Returns on how many hubs the members of a room are on average, if they are spread at random."""
    return hubs * (1 - (1 - 1 / hubs) ** members)


@dataclass
class Use:
    """What a load needs, in units of one: 1.0 is all that one Redis core, one hub's core or one link can do."""
    redis_core: float
    redis_egress: float
    subscriber_thread: float
    hub_cores: float

    def first(self) -> tuple[str, float]:
        """Returns the limit that is reached first, and how much of it is used."""
        names = {"core of Redis": self.redis_core, "egress of Redis": self.redis_egress,
                 "subscriber thread of a hub": self.subscriber_thread, "cores of a hub": self.hub_cores}
        name = max(names, key=names.get)
        return name, names[name]


def use(load: Load, rate: float, hubs: int, receiving_hubs: float, members: int, history: bool) -> Use:
    """Returns what `rate` messages per second in all need, if `receiving_hubs` hubs receive each of them."""
    redis = (load.script_history if history else load.script) + receiving_hubs * load.receiver
    # Averages over the hubs.
    received = rate * receiving_hubs / hubs
    delivered = rate * members / hubs
    on_thread = received * load.receive + delivered * load.deliver
    return Use(
        redis_core=rate * redis / 1e6,
        redis_egress=rate * receiving_hubs * CHANNEL_MESSAGE / EGRESS,
        subscriber_thread=on_thread / 1e6 / SUBSCRIBER_THREADS,
        hub_cores=(on_thread + rate / hubs * load.publish) / 1e6 / HUB_CORES,
    )


def memory(topics: int, subscriptions: float, history_messages: int) -> float:
    """Returns the memory of all Redis servers together, in bytes."""
    stream = STREAM_LEAST + (history_messages - 1) * STREAM_MESSAGE if history_messages else 0
    return topics * (COUNTER + stream) + subscriptions * SUBSCRIPTION


def size(value: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


def rate_text(value: float) -> str:
    return f"{value / 1e3:.3g} k" if value >= 1e3 else f"{value:.3g}"


def rows(clients: int, hubs: int):
    """Yields the lines of the table: what, load per second, use of Redis, use of a hub, first limit."""
    rooms, members = clients // 10, 10
    touched = hubs_of_a_room(members, hubs)
    for name, each in (("1 message per client and minute", 1 / 60), ("1 per 10 s", 1 / 10), ("1 per second", 1)):
        rate = clients * each
        needs = use(SATURATED, rate, hubs, touched, members, history=False)
        yield (f"{rooms:,} rooms of 10, {name}", rate, needs, memory(rooms, rooms * touched, 0))
    for load, each in ((FAN_ALONE, 5), (FAN_TOGETHER, 100)):
        needs = use(load, each, hubs, hubs, clients, history=False)
        yield (f"one topic for all, {each} messages/s {load.name}", each, needs, memory(1, hubs, 0))
    for history in (0, 1):
        rate = clients / 60
        needs = use(SATURATED, rate, hubs, 1, 1, history=bool(history))
        what = ", each with a history" if history else ""
        yield (f"{clients:,} personal topics{what}, 1 per minute", rate, needs, memory(clients, clients, history))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, help="hubs; default: as few as hold the clients")
    args = parser.parse_args()
    clients = args.clients
    hubs = args.nodes or -(-clients // CLIENTS_PER_HUB)
    print(f"{clients:,} clients on {hubs} hubs; {hubs * CONNECTIONS_PER_HUB} connections to each Redis")
    print("shares: 100 % is one core, one link of 1 Gbit/s, one thread; more than 100 % needs several Redis servers (shards)\n")
    head = ("load", "msg/s", "Redis core", "Redis egress", "hub thread", "hub cores", "memory", "first limit")
    print("{:52} {:>8} {:>10} {:>12} {:>10} {:>9} {:>8}  {}".format(*head))
    for name, rate, needs, space in rows(clients, hubs):
        limit, share = needs.first()
        print(f"{name:52} {rate_text(rate):>8} {needs.redis_core:10.0%} {needs.redis_egress:12.0%} "
              f"{needs.subscriber_thread:10.0%} {needs.hub_cores:9.0%} {size(space):>8}  "
              f"{limit}, full at {rate_text(rate / share)} msg/s")
    touched = hubs_of_a_room(10, hubs)
    print(f"\na room of 10 has members on {touched:.1f} hubs; Redis can carry "
          f"{rate_text(1e6 / (SATURATED.script + touched * SATURATED.receiver))} of its messages per second and core")
    fan = clients / hubs
    for load in (FAN_ALONE, FAN_TOGETHER):
        most = 1e6 / (load.receive + fan * load.deliver)
        print(f"one topic for all, messages {load.name}: a hub delivers each to {fan:,.0f} members, up to {most:.3g} messages/s; "
              f"Redis could carry {rate_text(1e6 / (load.script + hubs * load.receiver))}")
    print(f"a hub restarts: {fan:,.0f} clients connect again in {fan / CONNECTS:.1f} s, which is the limit; "
          f"10,000 topics need 1.5 to 2.5 s (the drill `rejoin` in src/DRILLS.md)")


if __name__ == "__main__":
    main()
