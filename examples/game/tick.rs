//! The tick: the one thread that owns the world. It reads slots and writes topics, and waits for its schedule alone.

use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use serde_json::{Value, json};
use standpipe::{Message, ServerHandle, Topic};

use super::Game;
use super::layout::{Line, snapshot};
use super::schedule::Schedule;
use super::seats::{Guest, Guests};
use super::token::Token;
use super::world::World;

/// Ticks until `ended` ends.
///
/// It does not wait for a client. Under `Conflate` a publish to one whose socket refuses bytes replaces what waits, under
/// `Disconnect` it cuts; neither asks the peer for anything. What is left is our own delay: a queue that is full although
/// its socket takes bytes, because its writer is at work this instant. For those a publish has 100 ms in all, and as the
/// tick flushes what it publishes, that is a thread that was stopped in the middle of a write.
///
/// It prints nothing either: a terminal can be stopped as a client can.
pub(crate) fn run(game: &Game, ended: &Receiver<()>, server: ServerHandle) {
    // Also by a panic: a server whose world stands still should end, and not look alive.
    let _server = EndsWithIt(server);
    let mut world = World::new(Token::new().map_or(1, Token::luck));
    let mut guests = Guests::default();
    let mut schedule = Schedule::new(Instant::now());
    while ended.recv_deadline(schedule.due()) == Err(RecvTimeoutError::Timeout) {
        let late = schedule.begin(Instant::now());
        // Of who is here nobody knows but the table; a tick in which it is being written in goes on with what it was.
        if let Some(now) = game.seats.look() {
            for event in welcome(&mut world, &guests, &now) {
                tell(&game.events, event);
            }
            guests = now;
        }
        for (seat, input) in game.seats.inputs().into_iter().enumerate() {
            if let Some(input) = input {
                world.steer(seat, input);
            }
        }
        for hit in world.step() {
            let (x, y) = (hit.x.round(), hit.y.round());
            let hit = json!({ "type": "hit", "tick": world.tick, "seat": hit.seat, "score": hit.score, "x": x, "y": y });
            tell(&game.events, hit);
        }
        let lines = guests.each_ref().map(|guest| {
            let outbox = guest.as_ref().and_then(|guest| guest.outbox.as_ref());
            Line {
                is_away: outbox.is_none(),
                waiting: outbox.map_or(0, standpipe::Outbox::len),
                skipped: outbox.map_or(0, |outbox| outbox.counts().dropped),
            }
        });
        publish(&game.snapshots, snapshot(&world, late, &lines));
    }
}

/// Lets in who has come and out who has gone, and gives the events that say so.
fn welcome(world: &mut World, before: &Guests, now: &Guests) -> Vec<Value> {
    let mut events = Vec::new();
    let connection = |guest: &Guest| guest.outbox.as_ref().map(standpipe::Outbox::number);
    for seat in 0..now.len() {
        let (mut before, now) = (before[seat].as_ref(), now[seat].as_ref());
        // Another one on the same seat: the first has gone, and the second has come.
        let is_another = before.zip(now).is_some_and(|(a, b)| a.sitting != b.sitting);
        if let Some(gone) = before.take_if(|_| is_another || now.is_none()) {
            world.leave(seat);
            events.push(json!({ "type": "left", "seat": seat, "name": &*gone.name }));
        }
        let Some(guest) = now else { continue };
        let what = match before {
            None => {
                world.enter(seat);
                "joined"
            }
            Some(before) if connection(before) == connection(guest) => continue,
            // Back on another connection, which has heard nothing yet.
            Some(_) if guest.outbox.is_some() => "back",
            Some(_) => "away",
        };
        events.push(json!({ "type": what, "seat": seat, "name": &*guest.name }));
    }
    // Who has come or is back learns by its own event who else is there: one order for all, and no list that is older
    // than an event before it.
    let players: Vec<Value> = now
        .iter()
        .enumerate()
        .filter_map(|(seat, guest)| Some(json!({ "seat": seat, "name": &*guest.as_ref()?.name })))
        .collect();
    for event in &mut events {
        if event["type"] == "joined" || event["type"] == "back" {
            event["players"] = players.clone().into();
        }
    }
    events
}

fn tell(events: &Topic, event: Value) {
    publish(events, Message::text(event.to_string()));
}

fn publish(topic: &Topic, message: Message) {
    let published = topic.publish(message);
    // Nobody else publishes here, so the turn is always there; and text and binary are data.
    debug_assert!(published.is_ok(), "{published:?}");
}

struct EndsWithIt(ServerHandle);

impl Drop for EndsWithIt {
    fn drop(&mut self) {
        self.0.shutdown();
    }
}
