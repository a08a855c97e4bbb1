//! The tick thread: it owns the world, reads the inputs of the seats, and publishes to the topics.
//!
//! The thread blocks only on its schedule, until the next tick is due or the server ends.

use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::{Value, json};
use standpipe::{Message, ServerHandle, Topic};

use super::Game;
use super::layout::{PlayerStatus, snapshot};
use super::schedule::Schedule;
use super::seats::{Occupant, Occupants};
use super::token::Token;
use super::world::World;

/// Runs ticks until the other end of `ended` is dropped.
///
/// The tick never waits for a peer. If a client's socket refuses bytes, a publish under `Conflate` replaces the queued
/// snapshot, and a publish under `Disconnect` disconnects the client. A publish can only be delayed by a queue that is
/// full although its socket accepts bytes, because its writer thread was stopped in the middle of a write. For such
/// queues one publish waits up to 100 ms in all.
///
/// The tick prints nothing, because a stopped terminal would block it.
pub(crate) fn run(game: &Game, ended: &Receiver<()>, server: ServerHandle) {
    // The server also shuts down if this thread panics. Otherwise it would go on with a world that stands still.
    let _server = ShutdownOnDrop(server);
    let mut world = World::new(Token::new().map_or(1, Token::seed));
    let mut occupants = Occupants::default();
    let mut schedule = Schedule::new(Instant::now());
    while ended.recv_deadline(schedule.due()) == Err(RecvTimeoutError::Timeout) {
        let late = schedule.start_tick(Instant::now());
        // If another thread is changing the table of seats, this tick uses the previous occupants.
        if let Some(now) = game.seats.try_refresh() {
            for event in update_players(&mut world, &occupants, &now) {
                publish_event(&game.events, event);
            }
            occupants = now;
        }
        for (seat, input) in game.seats.inputs().into_iter().enumerate() {
            if let Some(input) = input {
                world.steer(seat, input);
            }
        }
        for hit in world.step() {
            let (x, y) = (hit.x.round(), hit.y.round());
            let hit = json!({ "type": "hit", "tick": world.tick, "seat": hit.seat, "score": hit.score, "x": x, "y": y });
            publish_event(&game.events, hit);
        }
        let statuses = occupants.each_ref().map(|occupant| {
            let outbox = occupant
                .as_ref()
                .and_then(|occupant| occupant.outbox.as_ref());
            PlayerStatus {
                is_away: outbox.is_none(),
                waiting: outbox.map_or(0, standpipe::Outbox::len),
                skipped: outbox.map_or(0, |outbox| outbox.counts().dropped),
            }
        });
        publish(&game.snapshots, snapshot(&world, late, &statuses));
    }
}

/// Adds new players to the world, removes those who left, and returns the events that report both.
fn update_players(world: &mut World, before: &Occupants, now: &Occupants) -> Vec<Value> {
    let mut events = Vec::new();
    let connection = |occupant: &Occupant| occupant.outbox.as_ref().map(standpipe::Outbox::number);
    for seat in 0..now.len() {
        let (mut before, now) = (before[seat].as_ref(), now[seat].as_ref());
        // A different player on the same seat: the first one left, then the second one joined.
        let is_another = before
            .zip(now)
            .is_some_and(|(a, b)| a.occupancy != b.occupancy);
        if let Some(left) = before.take_if(|_| is_another || now.is_none()) {
            world.leave(seat);
            events.push(json!({ "type": "left", "seat": seat, "name": &*left.name }));
        }
        let Some(occupant) = now else { continue };
        let kind = match before {
            None => {
                world.enter(seat);
                "joined"
            }
            Some(before) if connection(before) == connection(occupant) => continue,
            // The player reconnected. The new connection has received no event yet.
            Some(_) if occupant.outbox.is_some() => "back",
            Some(_) => "away",
        };
        events.push(json!({ "type": kind, "seat": seat, "name": &*occupant.name }));
    }
    // The event of an arrival lists all players. Because the list is part of an event, it can never be older than the
    // events that the new player has received before it.
    let players: Vec<Value> = now
        .iter()
        .enumerate()
        .filter_map(|(seat, occupant)| {
            Some(json!({ "seat": seat, "name": &*occupant.as_ref()?.name }))
        })
        .collect();
    for event in &mut events {
        if event["type"] == "joined" || event["type"] == "back" {
            event["players"] = players.clone().into();
        }
    }
    events
}

fn publish_event(events: &Topic, event: Value) {
    publish(events, Message::text(event.to_string()));
}

fn publish(topic: &Topic, message: Message) {
    let published = topic.publish(message);
    // The tick is the only publisher, so the topic is never busy. Text and binary messages are always accepted.
    debug_assert!(published.is_ok(), "{published:?}");
}

struct ShutdownOnDrop(ServerHandle);

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}
