//! [`Site`]: what stands at which path, and who may have it.

use std::sync::Arc;

use http::{HeaderValue, Method, header};
use serde::Serialize;
use standpipe::{
    Connection, Handler, Hub, Message, Publication, Reply, Request, ServerHandle, Topic,
};

use super::dashboard::{Dashboard, LIVE};
use super::envelope::{element, to_json};
use super::page::{DASHBOARD, PAGE};
use super::places::Places;
use super::secrets::Secrets;
use super::session::Session;
use super::{Failure, debug, metrics, names, nesting, raw};

/// The subprotocol of JSON mode.
const PROTOCOL: &str = "standpipe.v1";

/// The subprotocol of everything else, for browsers that bring a token as a subprotocol: they insist on one that the
/// server chooses, and the token itself is nothing to send back.
const RAW: &str = "standpipe.raw";

pub(crate) struct Site {
    pub(crate) dashboard: Arc<Dashboard>,
    pub(crate) hub: Hub,
    pub(crate) handle: ServerHandle,
    pub(crate) echo: bool,
    pub(crate) max_subscriptions: usize,
    pub(crate) max_body: usize,
    /// Requests that may publish at a time. Under `block` they wait, and would take all places that there are for
    /// requests: nobody else could connect, or ask how the server is.
    pub(crate) publishing: Places,
    /// Clients must bring one of these, if there are any.
    pub(crate) tokens: Option<Secrets>,
    /// Who publishes over HTTP or looks behind the scenes brings one of these; without them, only this machine may.
    pub(crate) keys: Option<Secrets>,
}

impl Handler for Site {
    fn request(&self, request: &mut Request) -> Reply {
        let path: Vec<String> = request.segments().to_vec();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let answer = match path[..] {
            [] => get(request).map(|()| Reply::html(PAGE)),
            ["healthz"] => get(request).map(|()| Reply::text(200, "ok\n")),
            ["readyz"] => get(request).map(|()| self.ready()),
            ["metrics"] => get(request).map(|()| metrics::text(&self.handle, &self.hub)),
            ["echo"] if self.echo => self
                .known(request)
                .map(|()| Reply::upgrade().subprotocol(RAW)),
            ["ws"] => self.json_mode(request),
            ["ws", topic] => self.raw_mode(request, topic),
            ["publish", topic] => self.publish(request, topic),
            ["topics"] => get(request)
                .and_then(|()| self.known(request))
                .map(|()| self.topics()),
            ["topics", topic, "history"] => self.history(request, topic),
            ["topics", topic, "presence"] => self.presence(request, topic),
            ["debug", "clients"] => get(request)
                .and_then(|()| self.private(request))
                .map(|()| debug::clients(&self.handle, &self.hub)),
            ["dashboard"] => get(request)
                .and_then(|()| self.shown(request))
                .map(|()| Reply::html(DASHBOARD)),
            ["dashboard", live] if live == LIVE => self
                .watching(request)
                .map(|()| Reply::upgrade().subprotocol(RAW)),
            _ => Err(Reply::text(404, "nothing here; / says what there is\n")),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        match conn.request().segments() {
            [dashboard, _] if dashboard == "dashboard" => self.dashboard.watch(conn),
            [_, topic] => {
                let topic = topic.clone();
                raw::relay(&self.hub, conn, &topic)
            }
            [ws] if ws == "ws" => {
                let name = conn.request().query("name").map(str::to_owned);
                Session::new(&self.hub, name, self.max_subscriptions).run(conn)
            }
            _ => raw::echo(conn),
        }
    }
}

/// What proxies add: with one of these the request is somebody else's, from wherever.
fn is_forwarded(request: &Request) -> bool {
    let mut names = request.headers().keys().map(http::HeaderName::as_str);
    names.any(|name| FORWARDED.contains(&name) || name.starts_with("x-forwarded-"))
}

/// RFC 7239, RFC 9110 §7.6.3, and what is in use beside them.
const FORWARDED: [&str; 6] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "cf-connecting-ip",
    "true-client-ip",
];

impl Site {
    /// A request that brings a token, where one is asked for.
    fn known(&self, request: &Request) -> Result<(), Reply> {
        match &self.tokens {
            Some(tokens) if !tokens.has_token(request) => {
                Err(unauthorized("a token is needed here\n"))
            }
            _ => Ok(()),
        }
    }

    /// A request that brings a key; without keys, one of whoever sits at this machine: every listener and the peer are
    /// on loopback, and no proxy stands between.
    fn private(&self, request: &Request) -> Result<(), Reply> {
        if let Some(keys) = &self.keys {
            return if keys.has_bearer(request) {
                Ok(())
            } else {
                Err(unauthorized("a key is needed here\n"))
            };
        }
        if self.handle.is_loopback_only() && request.peer().is_loopback() && !is_forwarded(request)
        {
            Ok(())
        } else {
            Err(Reply::text(
                403,
                "without --publish-key-file this is for this machine alone\n",
            ))
        }
    }

    /// The dashboard's page holds nothing of ours. Where there are keys it asks for one: nobody can give a browser a
    /// header to bring.
    fn shown(&self, request: &Request) -> Result<(), Reply> {
        if self.keys.is_some() {
            return Ok(());
        }
        self.private(request)
    }

    /// The dashboard's WebSocket: as [`private`](Self::private), and a key may come as a subprotocol.
    fn watching(&self, request: &Request) -> Result<(), Reply> {
        match &self.keys {
            Some(keys) if keys.has_bearer_or_offers(request) => Ok(()),
            _ => self.private(request),
        }
    }

    fn ready(&self) -> Reply {
        if self.handle.is_shutting_down() {
            Reply::text(503, "shutting down\n")
        } else {
            Reply::text(200, "ready\n")
        }
    }

    fn json_mode(&self, request: &Request) -> Result<Reply, Reply> {
        self.known(request)?;
        check_name(request)?;
        if request.wants_upgrade() && !request.subprotocols().any(|offered| offered == PROTOCOL) {
            return Err(Reply::text(
                400,
                format!("offer the subprotocol {PROTOCOL} here\n"),
            ));
        }
        Ok(Reply::upgrade().subprotocol(PROTOCOL))
    }

    fn raw_mode(&self, request: &Request, topic: &str) -> Result<Reply, Reply> {
        self.known(request)?;
        check_name(request)?;
        names::check("a topic", topic).map_err(bad)?;
        since(request)?;
        Ok(Reply::upgrade().subprotocol(RAW))
    }

    fn publish(&self, request: &mut Request, topic: &str) -> Result<Reply, Reply> {
        #[derive(Serialize)]
        struct Answer {
            id: u64,
            receivers: usize,
            dropped: usize,
        }
        if *request.method() != Method::POST {
            return Err(method_not_allowed("POST"));
        }
        self.private(request)?;
        names::check("a topic", topic).map_err(bad)?;
        let key = request.query("key").map(str::to_owned);
        if let Some(key) = &key {
            names::check("a key", key).map_err(bad)?;
        }
        let body = request.read_body(self.max_body)?;
        let mut publication = publication(request.header("content-type"), body)?;
        if let Some(key) = key {
            publication = publication.key(&key);
        }
        let _place = self
            .publishing
            .take()
            .ok_or_else(|| busy("too many publishers wait".into()))?;
        let topic = self
            .hub
            .topic(topic)
            .map_err(|error| busy(error.to_string()))?;
        let published = match topic.publish(publication) {
            Ok(published) => published,
            Err(error) => return Err(busy(error.to_string())),
        };
        let body = to_json(&Answer {
            id: published.id,
            receivers: published.receivers,
            dropped: published.dropped,
        });
        Ok(Reply::json(
            if published.timed_out { 503 } else { 202 },
            body,
        ))
    }

    fn topics(&self) -> Reply {
        #[derive(Serialize)]
        struct Row {
            topic: String,
            members: usize,
            id: u64,
            policy: String,
            queue: usize,
            history: usize,
            accepted: u64,
            delivered: u64,
            dropped: u64,
            discarded: u64,
        }
        let row = |topic: &Topic| {
            let (counts, settings) = (topic.counts(), topic.settings());
            Row {
                topic: topic.name().to_owned(),
                members: topic.members(),
                id: topic.last_id(),
                policy: settings.policy.to_string(),
                queue: settings.queue,
                history: counts.history,
                accepted: counts.accepted,
                delivered: counts.delivered,
                dropped: counts.dropped.iter().map(|(_, dropped)| dropped).sum(),
                discarded: counts.discarded,
            }
        };
        let rows: Vec<Row> = self.hub.topics().iter().map(row).collect();
        Reply::json(200, to_json(&rows))
    }

    fn history(&self, request: &Request, topic: &str) -> Result<Reply, Reply> {
        get(request)?;
        self.private(request)?;
        names::check("a topic", topic).map_err(bad)?;
        let since = since(request)?.unwrap_or(0);
        let posts = self
            .hub
            .get(topic)
            .map_or_else(Vec::new, |topic| topic.history(since));
        let elements: Vec<String> = posts.iter().map(|post| element(post)).collect();
        Ok(Reply::json(200, format!("[{}]", elements.join(","))))
    }

    fn presence(&self, request: &Request, topic: &str) -> Result<Reply, Reply> {
        get(request)?;
        self.known(request)?;
        names::check("a topic", topic).map_err(bad)?;
        let names = self
            .hub
            .get(topic)
            .map_or_else(Vec::new, |topic| topic.presence());
        Ok(Reply::json(200, to_json(&names)))
    }
}

/// `text/*` and JSON are text, everything else is bytes.
fn publication(content_type: Option<&str>, body: Vec<u8>) -> Result<Publication, Reply> {
    let kind = content_type
        .unwrap_or("")
        .split(';')
        .next()
        .unwrap_or("")
        .trim()
        .to_ascii_lowercase();
    let json = kind == "application/json";
    if !json && !kind.starts_with("text/") {
        return Ok(Message::binary(body).into());
    }
    let text = String::from_utf8(body).map_err(|_| bad("a text is UTF-8"))?;
    if json {
        serde_json::from_str::<serde::de::IgnoredAny>(&text)
            .map_err(|error| bad(format!("no JSON: {error}")))?;
        nesting::check(&text).map_err(bad)?;
        return Ok(Publication::from(Message::text(text)).json());
    }
    Ok(Message::text(text).into())
}

fn check_name(request: &Request) -> Result<(), Reply> {
    let name = request.query("name");
    name.map_or(Ok(()), |name| names::check("a name", name))
        .map_err(bad)
}

/// The id after which a client wants to hear what it missed.
pub(crate) fn since(request: &Request) -> Result<Option<u64>, Reply> {
    let since = request.query("since").map(str::parse).transpose();
    since.map_err(|_| bad("since is an id: a whole number, not below 0"))
}

fn bad(text: impl Into<String>) -> Reply {
    Reply::text(400, text.into() + "\n")
}

fn busy(text: String) -> Reply {
    Reply::text(503, text + "\n").header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

fn unauthorized(text: &str) -> Reply {
    Reply::text(401, text).header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn method_not_allowed(allowed: &'static str) -> Reply {
    Reply::status(405).header(header::ALLOW, HeaderValue::from_static(allowed))
}

/// A page that is only read.
fn get(request: &Request) -> Result<(), Reply> {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        Ok(())
    } else {
        Err(method_not_allowed("GET, HEAD"))
    }
}
