//! Learn: one server for several tenants that never see each other. A room is a topic. A roster knows each user with all
//!        connections. Whatever a handler has joined, it leaves when it returns, fails or panics: the values that stand
//!        for it are dropped.
//! Run:   cargo run --example tenants    In further terminals:  cargo run -- client 'ws://127.0.0.1:9001/red?user=ann'
//!        with other users and tenants. The lines that you type are commands:
//!        /join ROOM, /leave ROOM, /say ROOM TEXT, /dm USER TEXT, /who, and for the user `admin` /kick USER
//! Watch: a message to `ann` reaches all of her connections, and a kick ends all of them with 4100.
//! Try next: `ann` of another tenant. She is somebody else, and sees neither the room nor the messages.
//!
//! ```text
//! topics   /red/lobby ─▶ ann 1, ann 2, bob      /blue/lobby ─▶ eve
//! roster   /red/ann   ─▶ ann 1, ann 2           /red/bob    ─▶ bob      /blue/eve ─▶ eve
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::collections::HashMap;
use std::{env, error::Error};

use standpipe::{
    Config, Connection, Handler, Hub, HubConfig, Reply, Request, Roster, Server, SubscribeOptions,
    Subscription,
};

struct Chat {
    hub: Hub,
    people: Roster,
}

impl Handler for Chat {
    fn request(&self, request: &mut Request) -> Reply {
        match (request.segments(), request.query("user")) {
            ([tenant], Some(user)) if is_name(tenant) && is_name(user) => Reply::upgrade(),
            ([_], _) => Reply::text(400, "/TENANT?user=NAME\n"),
            _ => Reply::status(404),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let tenant = conn.request().path().to_owned();
        let user = conn.request().query("user").unwrap_or_default().to_owned();
        let full = |name: &str| format!("{tenant}/{name}");
        let _present = self.people.join(&full(&user), conn.outbox())?;
        let mut rooms: HashMap<String, Subscription> = HashMap::new();
        while let Some(message) = conn.recv()? {
            let words: Vec<&str> = message.to_text()?.splitn(3, ' ').collect();
            match words[..] {
                ["/join", room] if is_name(room) && rooms.len() < 10 => {
                    let topic = self.hub.topic(&full(room))?;
                    let joined = topic.subscribe(conn.outbox(), SubscribeOptions::new())?;
                    rooms.insert(room.to_owned(), joined);
                    conn.send(format!("joined {room}"))?;
                }
                ["/leave", room] => drop(rooms.remove(room)),
                ["/say", room, text] if rooms.contains_key(room) => {
                    rooms[room]
                        .topic()
                        .publish(format!("{room} {user}: {text}"))?;
                }
                ["/dm", to, text] => {
                    let sent = self.people.send_to(&full(to), format!("dm {user}: {text}"));
                    conn.send(format!("sent to {}", sent.receivers))?;
                }
                ["/who"] => {
                    let all = self.people.names();
                    let here = all.iter().filter_map(|name| name.strip_prefix(&full("")));
                    conn.send(format!("here {}", here.collect::<Vec<_>>().join(" ")))?;
                }
                ["/kick", who] if user == "admin" => {
                    let kicked = self.people.kick(&full(who), 4100, "kicked");
                    conn.send(format!("kicked {kicked}"))?;
                }
                _ => conn.send("error: what?")?,
            }
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let hub = Hub::new(HubConfig::default());
    let server = Server::bind(address, Config::default().hub(&hub))?;
    let handle = server.handle();
    println!(
        "chat on ws://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    ctrlc::set_handler(move || handle.shutdown())?;
    let people = Roster::new(1000, 8);
    println!("{}", server.serve(Chat { hub, people })?);
    Ok(())
}
