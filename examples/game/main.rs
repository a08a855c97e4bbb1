//! Learn: a world that one thread owns, and pictures of it that replace each other: who is slow sees fewer, and none late.
//! Run:   cargo run --example game    then open http://127.0.0.1:9001/ in two windows; in a second terminal, perhaps:
//!        cargo run --example game 127.0.0.1:9001 slow
//! Watch: the slow player's `waiting` stays at 2 and its `skipped` grows; nobody else's does. Reload: the seat is yours.
//! Try next: 64 snapshots and `DropOldest`: the slow player's `waiting` then says how many pictures late it is. After that,
//!        move your own dot on the page at once, and correct it by the `ack` of your input in the snapshots.
//!
//! ```text
//! reader of 1 ─▶ slot of seat 1 ─┐                            ┌─▶ newest snapshot, events ─▶ writer of 1
//! reader of 2 ─▶ slot of seat 2 ─┼─▶ tick, 30 times a second ─┤
//!                (newest input)  │   (owns the world)         └─▶ newest snapshot, events ─▶ writer of 2
//! table of seats ────────────────┘
//! ```
//! Snapshots *conflate*: an old picture is worthless. Events *disconnect*: who has missed a hit has missed it for good,
//! so who is 64 events behind is cut with 4008, and comes back to the same seat by its token.
//!
//! TCP stays TCP: a lost segment holds back all that is behind it until it has been sent again, at least one round trip
//! later (head-of-line blocking). `TCP_NODELAY`, which the library sets, cures our own waiting and not that. Where such
//! stalls hurt, a game wants datagrams; where they do not, this is all it needs.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

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
use layout::Said;
use names::is_name;
use seats::{SEATS, Seats};
use serde_json::json;
use standpipe::{Config, Connection, Handler, Hub, HubConfig, Message, Policy, Rate, Reply};
use standpipe::{Request, Server, SubscribeOptions, Topic, TopicSettings};
use token::Token;

/// Characters of a name.
const NAME: usize = 16;
/// Snapshots that may wait for one player: the newest, and a place for it while the writer takes the one before.
const SNAPSHOTS: usize = 2;
/// Events that may wait for one player.
const EVENTS: usize = 64;
/// Close codes from 4000 on are an application's own (RFC 6455 §7.4.2).
const TAKEN_OVER: u16 = 4001;

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
    println!("game on http://{}/", handle.local_addr());
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.shutdown())?;

    let game = Game::new(keep)?;
    let report = thread::scope(|scope| {
        // Nothing is ever sent on it: its end is the message.
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
    // A page sends 30 inputs a second and two pings. Beyond that it is a flood, and is closed with 1008.
    let rate = Rate {
        per_second: 60,
        burst: 120,
    };
    Config::default()
        .rate(Some(rate))
        // The longest message of a player has five bytes; beyond 64 it is closed with 1009 before it is read whole.
        .max_message(64)
        // Twice the seats: who is told that the match is full must be let in for it, and so must who comes back while its
        // dead connection is still there. Where no proxy is between, `max_clients_per_ip` keeps one from taking all seats.
        .max_clients(Some(2 * SEATS))
        // Places for all that its two topics may have waiting, and a few for echoes.
        .queue(SNAPSHOTS + EVENTS + 8)
        // What the kernel has taken cannot be replaced any more. So it takes 2 KiB, six snapshots of a full match,
        // beyond what the peer's window has room for. In flight there may be more, or a long round trip would be a slow
        // one: 16 KiB are about two seconds. What the *peer's* kernel keeps for a page that does not read is beyond us.
        .unsent(2 << 10)
        .sndbuf(Some(16 << 10))
        // Who has vanished stands still after half a second, and its seat counts as left after 20.
        .ping_interval(Duration::from_secs(10))
        .ping_timeout(Duration::from_secs(10))
}

/// One match.
struct Game {
    seats: Seats,
    /// Both are published to by the tick alone, so it never waits for its turn.
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
                    .is_some_and(|name| is_name(name, NAME))
                {
                    return Reply::text(400, format!("a name has 1 to {NAME} characters\n"));
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
        // In the query, as a browser's WebSocket has no headers of its own. A proxy may write it into its log: there it is
        // worth one seat, as long as that is kept.
        let token = conn.request().query("token").and_then(Token::parse);
        let Some(seat) = self.seats.sit(name, token, conn.number())? else {
            // After the 101, as a page is told a close code and never an HTTP status. It may try again.
            conn.close(1013, &format!("the match is full: {SEATS} play"));
            return Ok(());
        };
        println!("client {}: {name:?} has seat {}", conn.number(), seat.seat);
        let welcome = json!({
            "type": "welcome", "seat": seat.seat, "token": seat.token.to_string(), "back": seat.is_back,
            "keep": self.seats.keep.as_secs(), "seats": SEATS, "rate": schedule::RATE,
            "width": world::WIDTH, "height": world::HEIGHT,
        });
        conn.send(Message::text(welcome.to_string()))?;
        // First the subscriptions, then the world: what the tick tells of this player this player hears too, and with it
        // who else is there. Whatever it hears before that is of a time before its own.
        let _events = self
            .events
            .subscribe(conn.outbox(), SubscribeOptions::new())?;
        let _snapshots = self
            .snapshots
            .subscribe(conn.outbox(), SubscribeOptions::new())?;
        if !seat.begin(conn.outbox()) {
            conn.close(TAKEN_OVER, seats::ELSEWHERE);
        }
        while let Some(message) = conn.recv()? {
            match Said::parse(&message) {
                Ok(Said::Input(input)) => seat.put(input),
                // Who reads too little to have room for it hears nothing, which the page shows. To wait here would be to
                // read no more inputs.
                Ok(Said::Ping(stamp)) => drop(conn.outbox().try_send(layout::echo(stamp))),
                Ok(Said::Leave) => {
                    seat.leave();
                    conn.close(1000, "left");
                }
                Err((code, why)) => conn.close(code, why),
            }
        }
        println!("client {}: gone from seat {}", conn.number(), seat.seat);
        Ok(())
    }
}
