//! Learn: an application that serves HTTP and a WebSocket on one port: a login form, a session in a cookie, a page with
//!        its script, a JSON endpoint, and a socket for users that are logged in.
//! Run:   cargo run --example web_app    Then open http://localhost:9001/ in two browsers. The password is `open sesame`.
//! Watch: a line that one user sends appears at both. A page of another site can neither log a user out nor connect,
//!        because the server checks the `Origin` of every upgrade and of every POST.
//! Try next: `Config::origin` with the address of a second server: its pages may now connect, and read `/api/me`.
//!
//! ```text
//! GET /login ─▶ form ─▶ POST /login ─▶ 303 with a cookie ─▶ GET / ─▶ page ─▶ /ws with the cookie ─▶ 101
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, error::Error};

use standpipe::http::Method;
use standpipe::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use standpipe::{
    Config, Connection, Cookie, Handler, Hub, HubConfig, Reply, Request, Server, SubscribeOptions,
};

const LOGIN: &str = "<!doctype html><title>log in</title><form method=post action=/login>\
    <input name=name><input name=password type=password><button>log in</button></form>";
const PAGE: &str = "<!doctype html><title>app</title><form method=post action=/logout><button>log out</button></form>\
    <form id=say><input id=line></form><script src=/app.js></script>";
const SCRIPT: &str = "const socket = new WebSocket(`ws://${location.host}/ws`);\n\
    socket.onmessage = event => document.body.append(event.data, document.createElement('br'));\n\
    say.onsubmit = event => { event.preventDefault(); socket.send(line.value); line.value = ''; };\n";

struct App {
    /// The user of each session.
    sessions: Mutex<HashMap<String, String>>,
    hub: Hub,
}

/// The user that a connection belongs to.
#[derive(Clone)]
struct User(String);

impl Handler for App {
    fn request(&self, request: &mut Request) -> Reply {
        Reply::from_try(|| self.answer(request))
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let User(name) = conn
            .request()
            .extensions()
            .get()
            .cloned()
            .ok_or("no user")?;
        let all = self.hub.topic("all")?;
        let _subscription = all.subscribe(conn.outbox(), SubscribeOptions::new())?;
        while let Some(message) = conn.recv()? {
            all.publish(format!("{name}: {}", message.to_text()?))?;
        }
        Ok(())
    }
}

impl App {
    fn sessions(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn user(&self, request: &Request) -> Option<User> {
        self.sessions()
            .get(request.cookie("session")?)
            .cloned()
            .map(User)
    }

    fn log_in(&self, request: &mut Request) -> Result<Reply, Reply> {
        let form = request.read_form(4096)?;
        let (Some(name), Some("open sesame")) = (form.get("name"), form.get("password")) else {
            return Err(page(LOGIN).with_status(403));
        };
        let mut random = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let session = format!("{:032x}", u128::from_ne_bytes(random));
        let mut sessions = self.sessions();
        if sessions.len() >= 1000 {
            return Err(Reply::text(503, "too many users\n"));
        }
        sessions.insert(session.clone(), name.to_owned());
        Ok(Reply::redirect(303, "/").set_cookie(Cookie::new("session", session)))
    }

    fn answer(&self, request: &mut Request) -> Result<Reply, Reply> {
        match (request.method(), request.path()) {
            (&Method::GET, "/") if self.user(request).is_none() => {
                Ok(Reply::redirect(303, "/login"))
            }
            (&Method::GET, "/") => Ok(page(PAGE)),
            (&Method::GET, "/login") => Ok(page(LOGIN)),
            (&Method::POST, "/login") => self.log_in(request),
            (&Method::POST, "/logout") => {
                self.sessions()
                    .remove(request.cookie("session").unwrap_or_default());
                let removed = Cookie::new("session", "").max_age(Duration::ZERO);
                Ok(Reply::redirect(303, "/login").set_cookie(removed))
            }
            (&Method::GET, "/app.js") => {
                let script = Reply::bytes(200, "text/javascript; charset=utf-8", SCRIPT);
                Ok(script.header(CACHE_CONTROL, "max-age=86400"))
            }
            (&Method::GET, "/api/me") => {
                let User(name) = self.user(request).ok_or_else(|| Reply::json(401, "null"))?;
                Ok(Reply::json(
                    200,
                    serde_json::json!({ "name": name }).to_string(),
                ))
            }
            (&Method::GET, "/ws") => {
                let user = self.user(request).ok_or_else(|| Reply::status(401))?;
                request.extensions_mut().insert(user);
                Ok(Reply::upgrade())
            }
            _ => Err(Reply::status(404)),
        }
    }
}

/// A page that may load its scripts from this server. `Reply::html` alone allows only scripts inside the page.
fn page(html: &'static str) -> Reply {
    let policy = "default-src 'none'; script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'";
    Reply::html(html).header(CONTENT_SECURITY_POLICY, policy)
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:9001".into());
    let hub = Hub::new(HubConfig::default());
    let server = Server::bind(address, Config::default().hub(&hub))?;
    let handle = server.handle();
    println!(
        "app on http://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    ctrlc::set_handler(move || handle.shutdown())?;
    let sessions = Mutex::default();
    println!("{}", server.serve(App { sessions, hub })?);
    Ok(())
}
