//! A multiplayer game with a fixed tick rate: one thread owns the world and publishes snapshots of it.
//!
//! Learn: one thread owns the world. Each snapshot replaces the previous one in a slow player's queue, so a slow player
//!        receives fewer snapshots instead of old ones.
//! Run:   cargo run --example game    It prints `game on http://127.0.0.1:9001/`. Open that page in two windows.
//!        For a slow player, run this in a second terminal:  cargo run --example game 127.0.0.1:9001 slow
//! Watch: in the table of players, `Waiting` of the slow player stays near 2 and its `Skipped` grows. The numbers of
//!        the other players do not. Its terminal prints `tick 149: 45 old snapshots came first, 43 were never sent`.
//!        Reload a page: you get the same seat back.
//! Try next: set `SNAPSHOTS` to 64 and the policy of the snapshots to `DropOldest`. `Waiting` then shows how many
//!        snapshots the slow player lags behind. After that, move your own dot on the page immediately, and correct its
//!        position with the `ack` of your input in the snapshots.
//!
//! ```text
//! reader of 1 ─▶ slot of seat 1 ─┐                            ┌─▶ newest snapshot, events ─▶ writer of 1
//! reader of 2 ─▶ slot of seat 2 ─┼─▶ tick, 30 times a second ─┤
//!                (newest input)  │   (owns the world)         └─▶ newest snapshot, events ─▶ writer of 2
//! table of seats ────────────────┘
//! ```
//! The topic of the snapshots *conflates*, because an old snapshot is worthless. The topic of the events *disconnects*,
//! because a missed event is never repeated. A player whose queue holds 64 events is disconnected with 4008 when the
//! next one is published. It reconnects to the same seat with its token.
//!
//! A lost TCP segment delays everything behind it until it has been sent again, at least one round trip later
//! (head-of-line blocking). `TCP_NODELAY`, which the library sets, removes delays on our side, but not this one. A game
//! that cannot tolerate such stalls needs datagrams. For other games, WebSockets are enough.
#![allow(clippy::print_stdout, reason = "an example prints what happens")]

mod layout;
#[path = "../web/names.rs"]
mod names;
mod schedule;
mod seats;
mod slow_player;
mod tick;
mod token;
#[path = "../web/mod.rs"]
mod web;
mod world;

use std::{env, error::Error, thread, time::Duration};

use crossbeam_channel::bounded;
use layout::PlayerMessage;
use names::is_name;
use seats::{SEATS, Seats};
use serde_json::json;
use standpipe::{Config, Connection, Handler, Hub, HubConfig, Message, Policy, Rate, Reply};
use standpipe::{Request, Server, SubscribeOptions, Topic, TopicSettings};
use token::Token;

/// Maximum length of a name, in characters.
const MAX_NAME: usize = 16;
/// Snapshots that may be queued for one player. The second slot is for the newest one while the writer takes the
/// previous.
const SNAPSHOTS: usize = 2;
/// Events that may be queued for one player.
const EVENTS: usize = 64;
/// Close codes from 4000 on are for applications (RFC 6455 §7.4.2). Those below 4100 belong to the `standpipe` program.
const TAKEN_OVER: u16 = 4101;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    let keep = match arguments.next().as_deref() {
        Some("slow") => return slow_player::play(&address),
        Some(seconds) => Duration::from_secs(seconds.parse()?),
        None => Duration::from_secs(20),
    };
    let server = Server::bind(address, config())?;
    let handle = server.handle();
    println!(
        "game on http://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.shutdown())?;

    let game = Game::new(keep)?;
    let report = thread::scope(|scope| {
        // Nothing is sent on this channel. Dropping `running` ends the tick.
        let (running, ended) = bounded(0);
        let ticker = thread::Builder::new().name("tick".into());
        let game = &game;
        ticker.spawn_scoped(scope, move || tick::run(game, &ended, handle))?;
        let report = server.serve(game);
        drop(running);
        report.map_err(Box::<dyn Error>::from)
    })?;
    println!("{report}");
    Ok(())
}

fn config() -> Config {
    // A page sends up to 30 inputs and two pings per second. A client that sends more than 60 messages per second,
    // beyond the burst, is closed with 1008.
    let rate = Rate::per_second(60).burst(120);
    Config::default()
        .rate(Some(rate))
        // A player's longest message has five bytes. A message of more than 64 bytes is rejected with 1009 before its
        // payload is read.
        .max_message(64)
        // Twice the number of seats, for two reasons. If the match is full, a client must still be able to connect,
        // because it learns that from a close code. And a player must be able to reconnect while its dead connection
        // still exists. Without a proxy in front, `max_clients_per_ip` would keep one address from taking all seats.
        .max_clients(Some(2 * SEATS))
        // Room for everything that the two topics may queue, and for a few echoes.
        .queue(SNAPSHOTS + EVENTS + 8)
        // A snapshot in the kernel's send buffer cannot be replaced any more. Therefore the kernel takes at most 2 KiB
        // (six snapshots of a full match) beyond what fits into the peer's window. The send buffer itself is larger,
        // because it also holds sent bytes that are not yet acknowledged: 16 KiB are about two seconds, so that a long
        // round trip does not limit the rate. The server cannot limit what the *peer's* kernel buffers for a page that
        // does not read.
        .unsent(2 << 10)
        .sndbuf(Some(16 << 10))
        // A vanished player stops moving after half a second. Its connection is given up after at most 20 s.
        .ping_interval(Duration::from_secs(10))
        .ping_timeout(Duration::from_secs(10))
}

/// One match.
struct Game {
    seats: Seats,
    /// Only the tick publishes to `snapshots` and `events`, so it never waits for another publisher.
    snapshots: Topic,
    events: Topic,
}

impl Game {
    fn new(keep: Duration) -> Result<Game, Box<dyn Error>> {
        let settings = TopicSettings::default();
        let snapshots = settings.policy(Policy::Conflate).queue(SNAPSHOTS);
        let disconnect = Policy::Disconnect { soft: None };
        let events = settings.policy(disconnect).queue(EVENTS);
        let config = HubConfig::default()
            .topic("snapshots", snapshots)
            .topic("events", events);
        let hub = Hub::new(config);
        Ok(Game {
            seats: Seats::new(keep),
            snapshots: hub.topic("snapshots")?,
            events: hub.topic("events")?,
        })
    }
}

impl Handler for &Game {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/" => web::page(
                "Game",
                include_str!("style.css"),
                include_str!("body.html"),
                include_str!("script.js"),
            ),
            "/ws" => {
                if !request
                    .query("name")
                    .is_some_and(|name| is_name(name, MAX_NAME))
                {
                    return Reply::text(400, format!("a name has 1 to {MAX_NAME} characters\n"));
                }
                match request.query("token").map(Token::parse) {
                    Some(None) => Reply::text(400, "a token has 32 hexadecimal digits\n"),
                    _ => Reply::upgrade(),
                }
            }
            _ => Reply::status(404),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let name = conn.request().query("name").unwrap_or_default();
        // The token is in the query because a page cannot set headers on a WebSocket. A proxy may log it. A reader of
        // that log could take over one seat, while the seat is kept.
        let token = conn.request().query("token").and_then(Token::parse);
        let Some(seat) = self.seats.take(name, token, conn.number())? else {
            // The server accepts the handshake and then closes, because a page can read a close code but not an HTTP
            // status. 1013 means "try again later".
            conn.close(1013, &format!("the match is full: {SEATS} players"));
            return Ok(());
        };
        println!(
            "client {}: {name:?} takes seat {}",
            conn.number(),
            seat.seat
        );
        let welcome = json!({
            "type": "welcome", "seat": seat.seat, "token": seat.token.to_string(), "back": seat.is_back,
            "keep": self.seats.keep.as_secs(), "seats": SEATS, "rate": schedule::RATE,
            "width": world::WIDTH, "height": world::HEIGHT,
        });
        conn.send(Message::text(welcome.to_string()))?;
        // Subscribe before the player enters the world. Then the player also receives the event of its own arrival,
        // which lists all players. Events that arrive before it are older than the player.
        let _events = self
            .events
            .subscribe(conn.outbox(), SubscribeOptions::new())?;
        let _snapshots = self
            .snapshots
            .subscribe(conn.outbox(), SubscribeOptions::new())?;
        if !seat.start_playing(conn.outbox()) {
            conn.close(TAKEN_OVER, seats::TAKEN_OVER_REASON);
        }
        while let Some(message) = conn.recv()? {
            match PlayerMessage::parse(&message) {
                Ok(PlayerMessage::Input(input)) => seat.put_input(input),
                // The echo is dropped if the player's queue is full. Waiting for room would delay the player's inputs.
                Ok(PlayerMessage::Ping(stamp)) => drop(conn.outbox().try_send(layout::echo(stamp))),
                Ok(PlayerMessage::Leave) => {
                    seat.leave();
                    conn.close(1000, "left");
                }
                Err((code, reason)) => conn.close(code, reason),
            }
        }
        println!(
            "client {}: disconnected from seat {}",
            conn.number(),
            seat.seat
        );
        Ok(())
    }
}
