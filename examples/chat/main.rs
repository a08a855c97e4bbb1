//! Learn: rooms in which nothing is lost: a history with ids makes it harmless to cut who is too slow.
//! Run:   cargo run --example chat    then open http://127.0.0.1:9001/ in two windows
//! Watch: what one says stands in both, in one order. End the program and start it again: both come back by themselves.
//! Try next: type `kick NAME` here. Then let the history have 5 messages only, and come back after 6: the gap is told.
//!
//! ```text
//! ann ─say─▶ reader of ann ─▶ room's lock: known already? ─no─▶ topic (id, history) ─▶ queue of ann, queue of bob
//!        ◀────── ack ───────┘                      └─yes─▶ the id it got then
//! ```
//! The policy is `disconnect`: a gap in a conversation is worse than a connection that comes back. Who is cut with 4008
//! asks for what came `since` the last id it saw, and has all of it as long as the room's history reaches.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

#[path = "../web/names.rs"]
mod names;
mod rooms;
#[path = "../web/mod.rs"]
mod web;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::{env, error::Error, io, thread};

use names::is_name;
use rooms::{Rooms, Word};
use serde::Deserialize;
use serde_json::{Value, json};
use standpipe::{Config, Connection, Handler, Message, Outbox, Rate, Reply, Request, Server};
use standpipe::{SubscribeOptions, Subscription};

/// Rooms one person may be in at once.
const ROOMS_OF_ONE: usize = 8;
/// Characters of a name.
const NAME: usize = 24;
/// Close codes from 4000 on are an application's own (RFC 6455 §7.4.2).
const KICKED: u16 = 4003;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    // Who floods is closed with 1008. A person types less.
    let rate: Rate = arguments.next().unwrap_or("10/s:30".into()).parse()?;
    let config = Config::default().rate(Some(rate)).max_message(8 << 10);
    // Lines of a chat are short: what the kernel takes for one who does not read is taken from the others' memory.
    let server = Server::bind(address, config.sndbuf(Some(16 << 10)))?;
    let handle = server.handle();
    println!("chat on http://{}/", handle.local_addr());
    let stop = handle.clone();
    ctrlc::set_handler(move || stop.shutdown())?;

    let chat = Arc::new(Chat::default());
    let sweeper = Arc::clone(&chat);
    // Names of those who have left are told after two seconds, unless they come back.
    handle.on_tick(move || sweeper.rooms.sweep());
    let moderated = Arc::clone(&chat);
    thread::Builder::new()
        .name("stdin".into())
        .spawn(move || moderate(&moderated))?;
    println!("{}", server.serve(Shared(chat))?);
    Ok(())
}

#[derive(Default)]
struct Chat {
    rooms: Rooms,
    /// Who is there, by the number of its connection: for `kick`.
    present: Mutex<HashMap<u64, (String, Outbox)>>,
}

/// `kick NAME` closes all connections of that name. They may come back; a real moderator also keeps a list.
fn moderate(chat: &Chat) {
    for line in io::stdin().lines().map_while(Result::ok) {
        let Some(name) = line.strip_prefix("kick ") else {
            println!("kick NAME is all there is");
            continue;
        };
        let theirs: Vec<Outbox> = {
            let present = chat.present.lock().unwrap_or_else(|dead| dead.into_inner());
            let theirs = present.values().filter(|(other, _)| other == name.trim());
            theirs.map(|(_, outbox)| outbox.clone()).collect()
        };
        for outbox in &theirs {
            outbox.close(KICKED, "kicked");
        }
        println!("kicked {} connections of {name:?}", theirs.len());
    }
}

struct Shared(Arc<Chat>);

impl Handler for Shared {
    fn request(&self, request: &mut Request) -> Reply {
        match request.segments() {
            [] => web::page(
                "chat",
                include_str!("style.css"),
                include_str!("body.html"),
                include_str!("script.js"),
            ),
            // Here a session cookie or a token would be looked at. A name alone is no proof of anything.
            [ws] if ws == "ws" => match request.query("name").map(|name| is_name(name, NAME)) {
                Some(true) => Reply::upgrade(),
                _ => Reply::text(400, format!("a name has 1 to {NAME} characters\n")),
            },
            _ => Reply::status(404),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let name = conn.request().query("name").unwrap_or_default().to_owned();
        let _here = Here::new(&self.0, conn, &name);
        // A page keeps its key, so that a word sent again on another connection is known; else the connection is the key.
        let key = conn
            .request()
            .query("key")
            .filter(|key| (1..=64).contains(&key.len()));
        let key = key.map_or_else(
            || format!("client {}", conn.number()),
            |key| format!("key {key}"),
        );
        let mut member = Member {
            chat: &self.0,
            name,
            key,
            rooms: HashMap::new(),
        };
        while let Some(message) = conn.recv()? {
            let Message::Text(text) = message else {
                conn.close(1003, "a chat is text");
                continue;
            };
            let answer = member
                .obey(conn, &text)
                .unwrap_or_else(|error| json!({ "error": error }));
            conn.send(Message::text(answer.to_string()))?;
        }
        Ok(())
    }
}

/// In the list of those present, until it is dropped.
struct Here<'a>(&'a Chat, u64);

impl<'a> Here<'a> {
    fn new(chat: &'a Chat, conn: &Connection, name: &str) -> Here<'a> {
        println!("{name:?} is there, client {}", conn.number());
        let mut present = chat.present.lock().unwrap_or_else(|dead| dead.into_inner());
        present.insert(conn.number(), (name.to_owned(), conn.outbox()));
        Here(chat, conn.number())
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        println!("client {} is gone", self.1);
        let mut present = self
            .0
            .present
            .lock()
            .unwrap_or_else(|dead| dead.into_inner());
        present.remove(&self.1);
    }
}

/// What a client asks for. A fixed shape also bounds how deep a parser goes: each client's stack is small.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Command {
    /// Be a member of this room; with `since`, first what came after that id.
    Join {
        room: String,
        since: Option<u64>,
    },
    Leave {
        room: String,
    },
    /// `ref` is the client's own name for the word, by which it is known when it is sent again.
    Say {
        room: String,
        say: String,
        #[serde(rename = "ref")]
        reference: String,
    },
    /// Which rooms there are.
    Rooms,
}

/// One connection's view.
struct Member<'a> {
    chat: &'a Chat,
    name: String,
    key: String,
    rooms: HashMap<String, Subscription>,
}

impl Member<'_> {
    /// Obeys one command; every command has an answer.
    fn obey(&mut self, conn: &Connection, text: &str) -> Result<Value, String> {
        let command: Command = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match command {
            Command::Join { room, since } => self.join(conn, &room, since),
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
                // A refusal names the word too, or its sender would send it again and again.
                let said = self.say(&room, &say, &reference);
                Ok(match said {
                    Ok(id) => json!({ "ack": reference, "id": id }),
                    Err(error) => json!({ "error": error, "ref": reference }),
                })
            }
            Command::Rooms => Ok(json!({ "rooms": self.chat.rooms.list() })),
        }
    }

    fn say(&self, room: &str, say: &str, reference: &str) -> Result<u64, String> {
        let room = self.rooms.get(room).ok_or("join the room first")?;
        let word = Word {
            from: &self.name,
            key: &self.key,
            say,
            reference,
        };
        self.chat.rooms.say(room.topic(), word)
    }

    /// What came since that id comes first, then the answer.
    fn join(&mut self, conn: &Connection, room: &str, since: Option<u64>) -> Result<Value, String> {
        if self.rooms.contains_key(room) {
            return Err("you are in that room".into());
        }
        if self.rooms.len() >= ROOMS_OF_ONE {
            return Err(format!("one person is in {ROOMS_OF_ONE} rooms at most"));
        }
        let topic = self.chat.rooms.topic(room)?;
        let mut how = SubscribeOptions::new().with_envelope().with_presence();
        how = how.with_name(&self.name);
        // Who comes for the first time reads what the room remembers; what it has forgotten is no gap to such a one.
        let oldest = || topic.history(0).first().map(|post| post.id() - 1);
        if let Some(since) = since.or_else(oldest) {
            how = how.since(since);
        }
        let joined = topic.subscribe(conn.outbox(), how);
        let joined = joined.map_err(|error| error.to_string())?;
        let answer = json!({ "joined": room, "last": joined.last_id(), "here": topic.presence() });
        self.rooms.insert(room.to_owned(), joined);
        Ok(answer)
    }
}
