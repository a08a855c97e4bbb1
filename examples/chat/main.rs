//! Learn: chat rooms without lost messages. A history with ids makes it harmless to disconnect a client that is too
//!        slow.
//! Run:   cargo run --example chat    Then open http://127.0.0.1:9001/ in two windows.
//! Watch: a message that you type in one window appears in both, in the same order. Stop the program and start it
//!        again: both windows reconnect by themselves.
//! Try next: type `kick NAME` into the program. Then set the history to 5 messages, and reconnect after 6: the page
//!        shows that a message is missing.
//!
//! ```text
//! ann ─say─▶ reader of ann ─▶ room's lock: ref known? ─no─▶ topic (id, history) ─▶ queue of ann, queue of bob
//!        ◀────── ack ───────┘                     └─yes─▶ the id that it already has
//! ```
//! The policy is `disconnect`, because a gap in a conversation is worse than a connection that is made again. A client
//! that was disconnected with 4008 reconnects and asks for the messages `since` the last id it saw. It gets all of them
//! as long as the history of the room reaches that far back.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

#[path = "../web/names.rs"]
mod names;
mod rooms;
#[path = "../web/mod.rs"]
mod web;

use std::collections::HashMap;
use std::{env, error::Error, io, thread};

use names::is_name;
use rooms::{Line, Rooms};
use serde::Deserialize;
use serde_json::{Value, json};
use standpipe::{Config, Connection, Handler, Message, Rate, Reply, Request, Roster, Server};
use standpipe::{SubscribeOptions, Subscription};

/// How many rooms one client may be in at the same time.
const ROOMS_PER_CLIENT: usize = 8;
/// Longest name, in characters.
const NAME: usize = 24;
/// How many names there may be, and how many connections with the same name.
const PEOPLE: [usize; 2] = [5000, 20];
/// Close codes from 4000 on are for applications (RFC 6455 §7.4.2). Those below 4100 belong to the `standpipe` program.
const KICKED: u16 = 4103;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    // A client that sends faster is closed with 1008. A person types more slowly than this.
    let rate: Rate = arguments.next().unwrap_or("10/s:30".into()).parse()?;
    let config = Config::default().rate(Some(rate)).max_message(8 << 10);
    // Chat messages are short, so a small send buffer is enough. A large one would only hold more for a client that
    // does not read.
    let server = Server::bind(address, config.sndbuf(Some(16 << 10)))?;
    let handle = server.handle();
    println!(
        "chat on http://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.shutdown())?;

    let people = Roster::new(PEOPLE[0], PEOPLE[1]);
    let for_stdin = people.clone();
    thread::Builder::new()
        .name("stdin".into())
        .spawn(move || moderate(&for_stdin))?;
    let rooms = Rooms::default();
    println!("{}", server.serve(Chat { rooms, people })?);
    Ok(())
}

struct Chat {
    rooms: Rooms,
    people: Roster,
}

/// Reads commands from standard input. `kick NAME` closes all connections with that name. Those clients may reconnect;
/// a real moderator would also keep a list of banned names.
fn moderate(people: &Roster) {
    for line in io::stdin().lines().map_while(Result::ok) {
        let Some(name) = line.strip_prefix("kick ") else {
            println!("the only command is: kick NAME");
            continue;
        };
        // A connection that does not read is closed too: what is queued for it is discarded.
        let connections = people.kick(name.trim(), KICKED, "kicked");
        println!("kicked {connections} connections of {name:?}");
    }
}

impl Handler for Chat {
    fn request(&self, request: &mut Request) -> Reply {
        match request.segments() {
            [] => web::page(
                "chat",
                include_str!("style.css"),
                include_str!("body.html"),
                include_str!("script.js"),
            ),
            // A real server checks a session cookie or a token here. A name alone proves nothing.
            [ws] if ws == "ws" => match request.query("name").map(|name| is_name(name, NAME)) {
                Some(true) => Reply::upgrade(),
                _ => Reply::text(400, format!("a name has 1 to {NAME} characters\n")),
            },
            _ => Reply::status(404),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let name = conn.request().query("name").unwrap_or_default().to_owned();
        let Ok(_present) = self.people.join(&name, conn.outbox()) else {
            conn.close(1013, "too many people, or too many connections of one name");
            return Ok(());
        };
        // A page sends the same key on each of its connections, so that a message sent again on a new connection is
        // recognized. For a client without a key, the connection is the key.
        let key = conn
            .request()
            .query("key")
            .filter(|key| (1..=64).contains(&key.len()));
        let key = key.map_or_else(
            || format!("client {}", conn.number()),
            |key| format!("key {key}"),
        );
        let mut member = Member {
            chat: self,
            name,
            key,
            rooms: HashMap::new(),
        };
        while let Some(message) = conn.recv()? {
            let Message::Text(text) = message else {
                conn.close(1003, "only text messages are accepted");
                continue;
            };
            let answer = member
                .execute(conn, &text)
                .unwrap_or_else(|error| json!({ "error": error }));
            conn.send(Message::text(answer.to_string()))?;
        }
        Ok(())
    }
}

/// A command of a client. Parsing into a type with fixed fields also bounds the depth of the recursion, because the
/// stack of a client thread is small.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Command {
    /// Joins a room. With `since`, the messages after that id are sent first. `epoch` says from which start of this
    /// program the id is, because a clock that was set back makes ids repeat.
    Join {
        room: String,
        since: Option<u64>,
        epoch: Option<String>,
    },
    Leave {
        room: String,
    },
    /// Says something in a room. `ref` is an id that the client chose, and identifies a message that is sent again.
    Say {
        room: String,
        say: String,
        #[serde(rename = "ref")]
        reference: String,
    },
    /// Asks for the list of rooms.
    Rooms,
}

/// The rooms and the identity of one connection.
struct Member<'a> {
    chat: &'a Chat,
    name: String,
    key: String,
    rooms: HashMap<String, Subscription>,
}

impl Member<'_> {
    /// Executes one command, and returns the answer. Every command has an answer.
    fn execute(&mut self, conn: &Connection, text: &str) -> Result<Value, String> {
        let command: Command = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match command {
            Command::Join { room, since, epoch } => self.join(conn, &room, since, epoch),
            Command::Leave { room } => {
                let left = self.rooms.remove(&room);
                left.map(|_| json!({ "left": room }))
                    .ok_or_else(|| "you are not in that room".into())
            }
            Command::Say {
                room,
                say,
                reference,
            } => {
                // The refusal names `ref` too. Otherwise the client would send the message again and again.
                let result = self.say(&room, &say, &reference);
                Ok(match result {
                    Ok(id) => json!({ "ack": reference, "id": id }),
                    Err(error) => json!({ "error": error, "ref": reference }),
                })
            }
            Command::Rooms => Ok(json!({ "rooms": self.chat.rooms.list() })),
        }
    }

    fn say(&self, room: &str, say: &str, reference: &str) -> Result<u64, String> {
        let room = self.rooms.get(room).ok_or("join the room first")?;
        let line = Line {
            from: &self.name,
            key: &self.key,
            say,
            reference,
        };
        self.chat.rooms.say(room.topic(), line)
    }

    /// Joins a room. The messages after `since` are queued first; the returned answer comes after them.
    fn join(
        &mut self,
        conn: &Connection,
        room: &str,
        since: Option<u64>,
        epoch: Option<String>,
    ) -> Result<Value, String> {
        if self.rooms.contains_key(room) {
            return Err("you are already in that room".into());
        }
        if self.rooms.len() >= ROOMS_PER_CLIENT {
            return Err(format!(
                "one client can be in at most {ROOMS_PER_CLIENT} rooms"
            ));
        }
        let topic = self.chat.rooms.topic(room)?;
        let mut options = SubscribeOptions::new().with_envelope().with_presence();
        options = options.with_name(&self.name);
        if let Some(epoch) = epoch.filter(|_| since.is_some()) {
            options = options.epoch(&epoch);
        }
        // A client that joins for the first time gets the whole history of the room. It starts before the oldest
        // message in the history, so older messages are not reported as a gap.
        let oldest = || topic.history(0).first().map(|message| message.id() - 1);
        if let Some(since) = since.or_else(oldest) {
            options = options.since(since);
        }
        let joined = topic.subscribe(conn.outbox(), options);
        let joined = joined.map_err(|error| error.to_string())?;
        let (last, epoch, here) = (joined.last_id(), topic.epoch(), topic.presence());
        let answer = json!({ "joined": room, "last": last, "epoch": epoch, "here": here });
        self.rooms.insert(room.to_owned(), joined);
        Ok(answer)
    }
}
