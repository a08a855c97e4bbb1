//! A text editor for several people, with operational transformation.
//!
//! Learn: two topics with two policies on one connection. Edits are never dropped; a cursor position is replaced by a
//!        newer one of the same person.
//! Run:   cargo run --example collab_editor    It prints `collab_editor on http://127.0.0.1:9001/`. Open
//!        http://127.0.0.1:9001/#notes in two windows.
//! Watch: type in both windows at the same time. Go offline in one of them, type in both, and go online again. Both
//!        windows show the same text.
//! Try next: add the arguments `127.0.0.1:9001 some-directory`. The texts are then saved there and survive a restart.
//!        Stop the program while a page is offline, and start it again.
//!
//! ```text
//! ann: edit 7, made on revision 41 ─▶ room's lock: not yet applied? transform over 42…45, apply as revision 46
//!                                         │
//!                                         ├─▶ topic notes/edits    disconnect, history ─▶ queue of ann, queue of bob
//! bob: cursor at revision 45 ─▶ (lock) ───┴─▶ topic notes/cursors  conflate by author  ─▶ queue of ann
//! ```
//! A missing edit would make all later edits wrong. A client that is too slow for the edits is disconnected with 4008.
//! It reconnects and receives the edits `since` its revision. For cursors only the newest position counts, so it
//! replaces an older one that is still queued.
#![allow(clippy::print_stdout, reason = "an example prints what happens")]

mod document;
#[path = "../web/names.rs"]
mod names;
mod room;
mod rooms;
mod storage;
mod text;
#[path = "../web/mod.rs"]
mod web;

use std::{env, error::Error, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use names::is_name;
use room::{JoinRequest, Member};
use rooms::Rooms;
use serde::Deserialize;
use serde_json::{Value, json};
use standpipe::{Config, Connection, Handler, Message, Rate, Reply, Request, Server};
use storage::Storage;

use crate::document::{Edit, Refusal};
use crate::text::Op;

/// Maximum length of a person's name, in characters.
const MAX_NAME: usize = 24;
/// Permitted lengths of a key.
const KEY_LENGTH: std::ops::RangeInclusive<usize> = 16..=64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    let storage = arguments.next().map(Storage::open).transpose()?;
    // A page sends at most one edit per 50 ms and one cursor per 100 ms. A client that exceeds this rate is closed with
    // 1008.
    let rate = Rate::per_second(100).burst(300);
    // An edit may insert a whole text: 20,000 UTF-16 units are up to 60,000 bytes of UTF-8. The rest is for the
    // numbers.
    let config = Config::default().rate(Some(rate)).max_message(80 << 10);
    // The policies cannot replace messages that are in the kernel's send buffer, so the buffer is small.
    let config = config.queue(room::QUEUE).sndbuf(Some(16 << 10));
    let server = Server::bind(address, config)?;
    let handle = server.handle();
    println!(
        "collab_editor on http://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    ctrlc::set_handler(move || handle.shutdown())?;

    let editor = Editor {
        rooms: Rooms::new(storage),
    };
    let report = thread::scope(|scope| {
        // Nothing is sent on this channel. Dropping `running` ends the thread.
        let (running, ended) = bounded(0);
        let saver = thread::Builder::new().name("saver".into());
        let rooms = &editor.rooms;
        saver.spawn_scoped(scope, move || save_periodically(rooms, &ended))?;
        let report = server.serve(&editor);
        drop(running);
        report.map_err(Box::<dyn Error>::from)
    })?;
    println!("{report}");
    Ok(())
}

/// Saves changed documents every second and at the end, and closes documents without members.
fn save_periodically(rooms: &Rooms, ended: &Receiver<()>) {
    while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        rooms.save();
        rooms.close_unused();
    }
    rooms.save();
}

struct Editor {
    rooms: Rooms,
}

impl Handler for &Editor {
    fn request(&self, request: &mut Request) -> Reply {
        match request.segments() {
            [] => web::page(
                "Shared text",
                include_str!("style.css"),
                include_str!("body.html"),
                concat!(include_str!("ot.js"), include_str!("script.js")),
            ),
            // A real application would check a cookie or a token here. A name alone proves nothing.
            [ws, text] if ws == "ws" => {
                let name = request
                    .query("name")
                    .is_some_and(|name| is_name(name, MAX_NAME));
                let key = request.query("key").is_some_and(is_key);
                if !rooms::is_name(text) {
                    Reply::text(400, "a text's name has 1 to 32 of a-z, 0-9 and -\n")
                } else if !name || !key {
                    let (min, max) = (KEY_LENGTH.start(), KEY_LENGTH.end());
                    let reason = format!(
                        "?name= has 1 to {MAX_NAME} characters, ?key= {min} to {max} letters and digits\n"
                    );
                    Reply::text(400, reason)
                } else {
                    Reply::upgrade()
                }
            }
            _ => Reply::status(404),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let request = conn.request();
        let text = request.segments().last().cloned().unwrap_or_default();
        let number = |name| {
            request
                .query(name)
                .and_then(|n| n.parse().ok())
                .unwrap_or(0)
        };
        let join = JoinRequest {
            name: request.query("name").unwrap_or_default().to_owned(),
            key: request.query("key").unwrap_or_default().to_owned(),
            life: number("life"),
            since: number("since"),
        };
        let room = self.rooms.open_room(&text);
        let member = match room.and_then(|room| room.join(conn, join)) {
            Ok(member) => member,
            Err(reason) => {
                conn.close(1013, &reason); // 1013 means "try again later".
                return Ok(());
            }
        };
        while let Some(message) = conn.recv()? {
            let Message::Text(text) = message else {
                conn.close(1003, "messages must be text");
                continue;
            };
            if let Some(answer) = handle_message(&member, &text) {
                conn.send(Message::text(answer.to_string()))?;
            }
        }
        Ok(())
    }
}

/// Returns whether this is a valid key.
///
/// A page makes its key from 128 random bits. The key is secret, because another client could use it to edit as this
/// author.
fn is_key(key: &str) -> bool {
    KEY_LENGTH.contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A message from a client.
///
/// All kinds of message share this flat struct. A parser that first built a tree would recurse as deep as the client's
/// JSON is nested, and handler stacks are small.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientMessage {
    #[serde(rename = "do")]
    verb: Verb,
    rev: u64,
    n: Option<u64>,
    op: Option<Op>,
    from: Option<usize>,
    to: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Edit,
    Cursor,
}

/// Handles a message, and returns the answer if it needs one.
///
/// A new edit has no answer of its own, because it is published to all members, including its author.
fn handle_message(member: &Member, text: &str) -> Option<Value> {
    let message: ClientMessage = match serde_json::from_str(text) {
        Ok(message) => message,
        Err(error) => {
            // The error may quote the message, so its length is limited.
            let error: String = error.to_string().chars().take(200).collect();
            return Some(json!({ "error": error }));
        }
    };
    match message {
        ClientMessage {
            verb: Verb::Edit,
            rev,
            n: Some(n),
            op: Some(op),
            ..
        } => {
            let edit = Edit {
                n,
                revision: rev,
                op,
            };
            match member.edit(&edit) {
                Ok(true) => None,
                Ok(false) => Some(json!({ "known": n })),
                Err(refusal) => {
                    // `anew` tells the client to fetch the whole text.
                    let is_too_old = refusal == Refusal::TooOld;
                    Some(json!({ "refused": n, "why": refusal.to_string(), "anew": is_too_old }))
                }
            }
        }
        ClientMessage {
            verb: Verb::Cursor,
            rev,
            from: Some(from),
            to: Some(to),
            ..
        } => {
            let result = member.move_cursor(rev, from, to);
            result
                .err()
                .map(|error| json!({ "error": error.to_string() }))
        }
        _ => Some(
            json!({ "error": "an edit needs `n`, `rev` and `op`, a cursor needs `rev`, `from` and `to`" }),
        ),
    }
}
