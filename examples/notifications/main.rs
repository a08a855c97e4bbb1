//! Learn: at least once, to a *user* and not to a socket: what is posted is kept until a tab says that it was read.
//! Run:   cargo run --example notifications    then open http://127.0.0.1:9001/#ann twice, and in a second terminal:
//!        curl -d '{"user":"ann","text":"build failed","urgent":true}' http://127.0.0.1:9001/publish
//! Watch: it stands in both tabs; read in one, it is read in the other. Close both, post three, open one: there they are.
//! Try next: post with "id":"ci-812" twice; with "ttl":5 and no tab open; 60 while nobody is there: ten are missed.
//!
//! ```text
//!                              ┌─ kept until read or too old ─┐
//! POST /publish ─▶ ann's lock ─┼─▶ mailbox of ann ──hello────▶├─▶ queue of a tab that comes
//! ticker (resend, expiry) ─────┤                              │
//! {"ack":[17]} from a tab ─────┴─▶ topics of ann ─────────────┴─▶ queue of each tab that is there
//! ```
//! Two topics for each user, as two things are asked of them. Events *block* for 50 ms, then the slow tab is cut: the
//! mailbox has what it lost, and that is what it gets when it comes back. The count of the unread *conflates*.
//!
//! Fan-out to millions, and mailboxes that outlive this process, are a database's work: see `mailbox.rs`.
#![allow(
    clippy::print_stdout,
    reason = "an example shows what happens where it is run"
)]

mod desk;
mod mailbox;
mod notice;
#[path = "../web/mod.rs"]
mod web;

use std::{env, error::Error, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use desk::{Desk, Full, Said, text};
use notice::{BODY, NAMES, Notice, is_name};
use serde_json::json;
use standpipe::tungstenite::http::{HeaderValue, Method, header};
use standpipe::{Config, Connection, Handler, Rate, Reply, Request, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    // A tab says little: an ack for what a person has read. Fifty ids are about 900 bytes.
    let rate = Rate {
        per_second: 10,
        burst: 60,
    };
    let config = Config::default().rate(Some(rate)).max_message(4 << 10);
    // What the kernel keeps for a tab that does not read, neither the topic nor its policy sees: so it keeps little.
    let server = Server::bind(address, config.sndbuf(Some(16 << 10)))?;
    let handle = server.handle();
    println!("notifications on http://{}/", handle.local_addr());
    ctrlc::set_handler(move || handle.shutdown())?;

    let notifications = Notifications {
        desk: Desk::new(),
        secret: arguments.next(),
    };
    let report = thread::scope(|scope| {
        // Nothing is ever sent on it: its end is the message.
        let (running, ended) = bounded(0);
        let ticker = thread::Builder::new().name("ticker".into());
        let desk = &notifications.desk;
        ticker.spawn_scoped(scope, move || tick(desk, &ended))?;
        let report = server.serve(&notifications);
        drop(running);
        report.map_err(Box::<dyn Error>::from)
    })?;
    println!("{report}");
    Ok(())
}

fn tick(desk: &Desk, ended: &Receiver<()>) {
    while ended.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
        desk.tick();
    }
}

struct Notifications {
    desk: Desk,
    /// With one, whoever has it may publish; without one, whoever is on this machine.
    secret: Option<String>,
}

impl Handler for &Notifications {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/" => self.page(request),
            "/publish" => self.publish(request),
            // Here a cookie or a token would say who it is (RFC 6455 §10.5). This example takes people at their word.
            "/ws" => match request.query("user") {
                Some(name) if is_name(name) => Reply::upgrade(),
                _ => Reply::text(400, format!("/ws?user=NAME, where NAME is {NAMES}\n")),
            },
            _ => Reply::status(404),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let name = conn.request().query("user").unwrap_or_default().to_owned();
        let tab = match self.desk.enter(&name, conn.outbox()) {
            Ok(tab) => tab,
            Err(Full(why)) => {
                conn.close(1013, why); // Try again later.
                return Ok(());
            }
        };
        // Its end is no end of the user's: what was not read stays in the mailbox.
        while let Some(message) = conn.recv()? {
            match Said::parse(&message) {
                Ok(said) => {
                    for answer in tab.hear(&said) {
                        conn.send(text(&answer))?;
                    }
                }
                // Told, and not cut: a page that is newer than the server goes on with what both know.
                Err(why) => conn.send(text(&json!({ "type": "error", "why": why })))?,
            }
        }
        Ok(())
    }
}

impl Notifications {
    fn page(&self, request: &Request) -> Reply {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return not_allowed("GET, HEAD");
        }
        let (style, body) = (include_str!("style.css"), include_str!("body.html"));
        web::page("Notifications", style, body, include_str!("script.js"))
    }

    /// `POST /publish`, from any language. The answer says *kept*: 202, the notification's id, and for how many tabs it
    /// was queued at once.
    fn publish(&self, request: &mut Request) -> Reply {
        if request.method() != Method::POST {
            return not_allowed("POST");
        }
        if let Some(reply) = self.refusal(request) {
            return reply;
        }
        let body = match request.read_body(BODY) {
            Ok(body) => body,
            Err(reply) => return reply,
        };
        let notice = match Notice::parse(&body) {
            Ok(notice) => notice,
            Err(why) => return error(400, &why),
        };
        let user = notice.user.clone();
        match self.desk.post(notice) {
            Ok(receipt) => {
                println!("{user}: {} for {} tabs", receipt.id, receipt.tabs);
                let receipt = json!({ "id": receipt.id, "tabs": receipt.tabs });
                Reply::json(202, format!("{receipt}\n"))
            }
            Err(Full(why)) => error(503, why).header(header::RETRY_AFTER, 5.into()),
        }
    }

    /// Why this client may not publish. Without a secret only this machine's programs may; pages of other sites are
    /// refused by the server itself, by their `Origin`. Behind a proxy all clients come from its address: then a secret
    /// is a must, or `/publish` is not passed on.
    fn refusal(&self, request: &Request) -> Option<Reply> {
        let Some(secret) = &self.secret else {
            let why = "without a secret, only this machine publishes";
            return (!request.peer().is_loopback()).then(|| error(403, why));
        };
        let given = request
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        if given.is_some_and(|given| is_same(given.as_bytes(), secret.as_bytes())) {
            return None;
        }
        let reply = error(401, "publishing takes `Authorization: Bearer SECRET`");
        Some(reply.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
    }
}

/// Takes as long for a wrong first byte as for a wrong last one, so that nobody can guess byte by byte.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn error(code: u16, why: &str) -> Reply {
    Reply::json(code, format!("{}\n", json!({ "error": why })))
}

fn not_allowed(allow: &'static str) -> Reply {
    error(405, &format!("only {allow} here")).header(header::ALLOW, HeaderValue::from_static(allow))
}
