//! Learn: two lanes with two policies on one connection: edits are never dropped, cursors give way to newer ones.
//! Run:   cargo run --example collab_editor    then open http://127.0.0.1:9001/#notes in two windows
//! Watch: type in both at once; go offline in one, type in both, and come back. Both show the same text.
//! Try next: `-- 127.0.0.1:9001 some-directory`: the texts outlive the program. Then end it while a page is offline.
//!
//! ```text
//! ann: edit 7, made on revision 41 ─▶ room's lock: known already? transform over 42…45, apply, it is revision 46
//!                                         │
//!                                         ├─▶ topic notes/edits    disconnect, history ─▶ queue of ann, queue of bob
//! bob: cursor at revision 45 ─▶ (lock) ───┴─▶ topic notes/cursors  conflate by author  ─▶ queue of ann
//! ```
//! An edit that is left out makes all later ones wrong: who is too slow for edits is cut with 4008, and comes back for
//! those `since` its revision. Of a cursor only the newest place counts: it takes the place of the one that still waits.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

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
use room::{Member, Visitor};
use rooms::Rooms;
use serde::Deserialize;
use serde_json::{Value, json};
use standpipe::{Config, Connection, Handler, Message, Rate, Reply, Request, Server};
use storage::Shelf;

use crate::document::{Edit, Refusal};
use crate::text::Op;

/// Characters of a person's name, and of a key.
const NAME: usize = 24;
const KEY: std::ops::RangeInclusive<usize> = 16..=64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    let shelf = arguments.next().map(Shelf::open).transpose()?;
    // A page sends an edit each 50 ms and a cursor each 100 ms at most. Who floods is closed with 1008.
    let rate = Rate {
        per_second: 100,
        burst: 300,
    };
    // An edit may insert a whole text: 20,000 UTF-16 units are 60,000 bytes of UTF-8, and its parts are numbers.
    let config = Config::default().rate(Some(rate)).max_message(80 << 10);
    // What the kernel keeps for one who does not read, the policies do not see: so it keeps little.
    let config = config.queue(room::PLACES).sndbuf(Some(16 << 10));
    let server = Server::bind(address, config)?;
    let handle = server.handle();
    println!("collab_editor on http://{}/", handle.local_addr());
    ctrlc::set_handler(move || handle.shutdown())?;

    let editor = Editor {
        rooms: Rooms::new(shelf),
    };
    let report = thread::scope(|scope| {
        // Nothing is ever sent on it: its end is the message.
        let (running, ended) = bounded(0);
        let keeper = thread::Builder::new().name("keeper".into());
        let rooms = &editor.rooms;
        keeper.spawn_scoped(scope, move || keep(rooms, &ended))?;
        let report = server.serve(&editor);
        drop(running);
        report.map_err(Box::<dyn Error>::from)
    })?;
    println!("{report}");
    Ok(())
}

/// Saves what has changed, each second and at the end, and forgets what nobody needs.
fn keep(rooms: &Rooms, ended: &Receiver<()>) {
    while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        rooms.save();
        rooms.tidy();
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
            // Here a cookie or a token would say who may edit what. A name alone is no proof of anything.
            [ws, text] if ws == "ws" => {
                let name = request
                    .query("name")
                    .is_some_and(|name| is_name(name, NAME));
                let key = request.query("key").is_some_and(is_key);
                if !rooms::is_name(text) {
                    Reply::text(400, "a text's name has 1 to 32 of a-z, 0-9 and -\n")
                } else if !name || !key {
                    let (from, to) = (KEY.start(), KEY.end());
                    let why = format!(
                        "?name= has 1 to {NAME} characters, ?key= {from} to {to} letters and digits\n"
                    );
                    Reply::text(400, why)
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
        let visitor = Visitor {
            name: request.query("name").unwrap_or_default().to_owned(),
            key: request.query("key").unwrap_or_default().to_owned(),
            life: number("life"),
            since: number("since"),
        };
        let entered = self.rooms.enter(&text);
        let member = match entered.and_then(|room| room.join(conn, visitor)) {
            Ok(member) => member,
            Err(full) => {
                conn.close(1013, &full); // Try again later.
                return Ok(());
            }
        };
        while let Some(message) = conn.recv()? {
            let Message::Text(said) = message else {
                conn.close(1003, "an edit is text");
                continue;
            };
            if let Some(answer) = obey(&member, &said) {
                conn.send(Message::text(answer.to_string()))?;
            }
        }
        Ok(())
    }
}

/// A page makes its key of 128 random bits. Who has it can pass for its edits, so nobody else is told.
fn is_key(key: &str) -> bool {
    KEY.contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What a client says. One flat shape: a parser that follows whatever comes goes as deep as that, and stacks are small.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
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

/// An edit is answered by coming back to its author in the order of all; everything else that needs a word gets one.
fn obey(member: &Member, said: &str) -> Option<Value> {
    let said: Said = match serde_json::from_str(said) {
        Ok(said) => said,
        Err(error) => {
            // It may quote what came.
            let why: String = error.to_string().chars().take(200).collect();
            return Some(json!({ "error": why }));
        }
    };
    match said {
        Said {
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
                    let anew = refusal == Refusal::TooOld;
                    Some(json!({ "refused": n, "why": refusal.to_string(), "anew": anew }))
                }
            }
        }
        Said {
            verb: Verb::Cursor,
            rev,
            from: Some(from),
            to: Some(to),
            ..
        } => {
            let pointed = member.point(rev, from, to);
            pointed.err().map(|why| json!({ "error": why.to_string() }))
        }
        _ => Some(
            json!({ "error": "an edit has `n`, `rev` and `op`, a cursor `rev`, `from` and `to`" }),
        ),
    }
}
