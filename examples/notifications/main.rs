//! Learn: delivery at least once, to a *user* and not to a socket. A notification is kept until a tab acknowledges it.
//! Run:   cargo run --example notifications    Open http://127.0.0.1:9001/#ann twice, and in a second terminal:
//!        curl -d '{"user":"ann","text":"build failed","urgent":true}' http://127.0.0.1:9001/publish
//! Watch: the notification appears in both tabs. Mark it as read in one tab, and it becomes read in the other. Close
//!        both tabs, publish three, and open one tab: it shows all three.
//! Try next: publish twice with "id":"ci-812". Publish with "ttl":5 while no tab is open. Publish 60 while no tab is
//!        open: ten are reported as missed.
//!
//! ```text
//!                              ┌─ kept until read or too old ─┐
//! POST /publish ─▶ ann's lock ─┼─▶ mailbox of ann ──hello────▶├─▶ queue of a tab that connects
//! ticker (resend, expiry) ─────┤                              │
//! {"ack":[17]} from a tab ─────┴─▶ topics of ann ─────────────┴─▶ queue of each connected tab
//! ```
//! Each user has two topics, because the two kinds of messages need different policies. Events use `block` with 50 ms,
//! and then the slow tab is disconnected. It loses nothing: when it reconnects, it gets everything unread from the
//! mailbox. The count of unread notifications uses `conflate`.
//!
//! Fan-out to millions of users, and mailboxes that survive a restart, are work for a database: see `mailbox.rs`.
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

mod desk;
mod mailbox;
mod notice;
#[path = "../web/mod.rs"]
mod web;

use std::{env, error::Error, thread, time::Duration};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use desk::{Desk, Full, TabCommand, text};
use notice::{BODY, NAMES, Notice, is_name};
use serde_json::json;
use standpipe::http::{Method, header};
use standpipe::{Config, Connection, Handler, Rate, Reply, Request, Server};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:9001".into());
    // A tab sends little: acks for the notifications that a person has read. An ack of 50 ids takes about 900 bytes.
    let rate = Rate::per_second(10).burst(60);
    let config = Config::default().rate(Some(rate)).max_message(4 << 10);
    // The topic and its policy do not see what the kernel buffers for a tab that does not read. So the buffer is small.
    let server = Server::bind(address, config.sndbuf(Some(16 << 10)))?;
    let handle = server.handle();
    println!(
        "notifications on http://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    ctrlc::set_handler(move || handle.shutdown())?;

    let notifications = Notifications {
        desk: Desk::new(),
        secret: arguments.next(),
    };
    let report = thread::scope(|scope| {
        // No message is ever sent on this channel. Dropping `stop` disconnects it, and that ends the ticker.
        let (stop, stopped) = bounded(0);
        let ticker = thread::Builder::new().name("ticker".into());
        let desk = &notifications.desk;
        ticker.spawn_scoped(scope, move || tick(desk, &stopped))?;
        let report = server.serve(&notifications);
        drop(stop);
        report.map_err(Box::<dyn Error>::from)
    })?;
    println!("{report}");
    Ok(())
}

fn tick(desk: &Desk, stopped: &Receiver<()>) {
    while stopped.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
        desk.tick();
    }
}

struct Notifications {
    desk: Desk,
    /// With a secret, only clients that send it may publish. Without one, only programs on this machine may.
    secret: Option<String>,
}

impl Handler for &Notifications {
    fn request(&self, request: &mut Request) -> Reply {
        match request.path() {
            "/" => self.page(request),
            "/publish" => Reply::from_try(|| self.publish(request)),
            // A real server takes the user from a cookie or a token (RFC 6455 §10.5). This example does not
            // authenticate.
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
        // When this tab ends, the unread notifications stay in the mailbox of the user.
        while let Some(message) = conn.recv()? {
            match TabCommand::parse(&message) {
                Ok(command) => {
                    for answer in tab.execute(&command) {
                        conn.send(text(&answer))?;
                    }
                }
                // An error does not close the connection. So a page that is newer than the server can still use the
                // commands that both know.
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

    /// Handles `POST /publish`. The answer 202 means that the notification is *kept*. It contains the id and the number
    /// of tabs that it was queued for immediately.
    fn publish(&self, request: &mut Request) -> Result<Reply, Reply> {
        if request.method() != Method::POST {
            return Err(not_allowed("POST"));
        }
        self.check(request)?;
        let body = request.read_body(BODY)?;
        let notice = Notice::parse(&body).map_err(|why| error(400, &why))?;
        let user = notice.user.clone();
        let receipt = self.desk.post(notice);
        let receipt =
            receipt.map_err(|Full(why)| error(503, why).header(header::RETRY_AFTER, 5))?;
        println!(
            "{user}: notification {} queued for {} tabs",
            receipt.id, receipt.tabs
        );
        let receipt = json!({ "id": receipt.id, "tabs": receipt.tabs });
        Ok(Reply::json(202, format!("{receipt}\n")))
    }

    /// Refuses a client that may not publish. Without a secret, only programs on this machine may publish. The server itself rejects pages of other sites, by their `Origin`. Behind a proxy all
    /// clients have the address of the proxy, and many proxies send a loopback name as `Host`, so neither proves anything:
    /// then set a secret, or do not forward `/publish`.
    fn check(&self, request: &Request) -> Result<(), Reply> {
        let Some(secret) = &self.secret else {
            let why = "without a secret, only programs on this machine may publish";
            let is_local = request.peer().is_loopback() && request.has_loopback_host();
            return if is_local {
                Ok(())
            } else {
                Err(error(403, why))
            };
        };
        match request.bearer_token() {
            Some(given) if is_same(given.as_bytes(), secret.as_bytes()) => Ok(()),
            _ => {
                let why = "publishing needs the header `Authorization: Bearer SECRET`";
                Err(error(401, why).header(header::WWW_AUTHENTICATE, "Bearer"))
            }
        }
    }
}

/// Compares in constant time. Otherwise a client could guess the secret byte by byte, by measuring the time.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn error(code: u16, why: &str) -> Reply {
    Reply::json(code, format!("{}\n", json!({ "error": why })))
}

fn not_allowed(allow: &'static str) -> Reply {
    error(405, &format!("the only allowed methods are: {allow}")).header(header::ALLOW, allow)
}
