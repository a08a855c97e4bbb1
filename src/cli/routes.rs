//! [`Routes`]: what each path does, and which requests may use it.

use std::sync::Arc;

use serde::Serialize;
use standpipe::{Connection, Handler, Hub, Reply, Request, ServerHandle, SubscribeError, Topic};

use super::access::Access;
use super::dashboard::{Dashboard, LIVE};
use super::envelope::{element, to_json};
use super::http_publish::HttpPublisher;
use super::links::Links;
use super::page::{DASHBOARD, PAGE};
use super::renewal::Renewal;
use super::replies::{bad_request, busy, check_get, check_post, not_found};
use super::session::Session;
use super::tokens::Identity;
use super::{Failure, debug, metrics, params, raw};

/// The subprotocol of JSON mode.
const PROTOCOL: &str = "standpipe.v1";

/// The subprotocol of all other WebSockets. A browser that sends a token as a subprotocol closes the connection unless the
/// server selects one of the offered subprotocols. The token itself must not be sent back, so the server selects this
/// one.
const RAW: &str = "standpipe.raw";

/// The bytes of one answer with a history. All histories together have a limit, but each answer is a copy, and 256 clients
/// that do not read would hold as many copies. An answer has at least one message, so that a client always gets further.
const MAX_HISTORY_ANSWER: usize = 1 << 20;

pub(crate) struct Routes {
    pub(crate) access: Arc<Access>,
    pub(crate) dashboard: Arc<Dashboard>,
    pub(crate) hub: Hub,
    pub(crate) links: Option<Links>,
    pub(crate) handle: ServerHandle,
    pub(crate) publisher: HttpPublisher,
    pub(crate) has_echo: bool,
    pub(crate) has_page: bool,
    pub(crate) max_subscriptions: usize,
}

impl Handler for Routes {
    fn request(&self, request: &mut Request) -> Reply {
        let path: Vec<String> = request.segments().to_vec();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let answer = match path[..] {
            [] if self.has_page => check_get(request).map(|()| Reply::html(PAGE)),
            ["healthz"] => check_get(request).map(|()| Reply::text(200, "ok\n")),
            ["readyz"] => check_get(request).map(|()| self.ready()),
            ["metrics"] => self
                .access
                .check_metrics(request)
                .and_then(|()| check_get(request))
                .map(|()| metrics::text(request, &self.handle, &self.hub, self.links.as_ref())),
            ["echo"] if self.has_echo => self
                .access
                .admit(request)
                .map(|identity| upgrade(RAW, &identity)),
            ["ws"] => self.json_mode(request),
            ["ws", topic] => self.raw_mode(request, topic),
            ["publish", topic] => self
                .access
                .check_admin(request)
                .and_then(|()| check_post(request))
                .and_then(|()| self.publisher.publish(request, topic)),
            ["topics"] => self
                .access
                .check_admin(request)
                .and_then(|()| check_get(request))
                .map(|()| self.topics()),
            ["topics", topic, "history"] => self.history(request, topic),
            ["topics", topic, "presence"] => self.presence(request, topic),
            ["debug", "clients"] => self
                .access
                .check_admin(request)
                .and_then(|()| check_get(request))
                .map(|()| debug::clients(&self.handle, &self.hub)),
            ["dashboard"] => self
                .access
                .check_dashboard_page(request)
                .and_then(|()| check_get(request))
                .map(|()| Reply::html(DASHBOARD)),
            ["dashboard", live] if live == LIVE => self
                .access
                .check_dashboard_socket(request)
                .map(|()| Reply::upgrade().subprotocol(RAW)),
            _ => Err(not_found()),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        if let [ws, topic] = conn.request().segments()
            && ws == "ws"
        {
            return raw::join(&self.hub, conn, topic);
        }
        Ok(())
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        let identity = Identity::of(conn.request());
        let expiry = self.access.expiries.watch(conn, &identity);
        match conn.request().segments() {
            [dashboard, _] if dashboard == "dashboard" => self.dashboard.watch(conn),
            [_, topic] => {
                let topic = topic.clone();
                let rights = self.access.rights(identity);
                raw::relay(&self.hub, conn, &topic, rights)
            }
            [ws] if ws == "ws" => {
                let name = identity.name(conn.request()).map(str::to_owned);
                let rights = self.access.rights(identity);
                let renewal = Renewal::new(&self.access.tokens, expiry);
                Session::new(&self.hub, name, self.max_subscriptions, rights, renewal).run(conn)
            }
            _ => raw::echo(conn),
        }
    }
}

impl Routes {
    fn ready(&self) -> Reply {
        if self.handle.is_shutting_down() {
            return Reply::text(503, "shutting down\n");
        }
        match &self.links {
            Some(links) => {
                let (status, text) = links.readiness();
                Reply::text(status, text)
            }
            None => Reply::text(200, "ready\n"),
        }
    }

    fn json_mode(&self, request: &mut Request) -> Result<Reply, Reply> {
        let identity = self.access.admit(request)?;
        params::check_name(request)?;
        if request.wants_upgrade() && !request.subprotocols().any(|offered| offered == PROTOCOL) {
            return Err(bad_request(format!(
                "this path requires the subprotocol {PROTOCOL}"
            )));
        }
        Ok(upgrade(PROTOCOL, &identity))
    }

    fn raw_mode(&self, request: &mut Request, topic: &str) -> Result<Reply, Reply> {
        let identity = self.access.admit(request)?;
        params::check_name(request)?;
        params::check_topic(topic)?;
        self.access.check_subscribe(identity.clone(), topic)?;
        params::since(request)?;
        params::echo(request)?;
        Ok(upgrade(RAW, &identity))
    }

    fn topics(&self) -> Reply {
        let topics = self.hub.topics();
        let rows: Vec<TopicRow> = topics.iter().map(TopicRow::new).collect();
        Reply::json(200, to_json(&rows))
    }

    fn history(&self, request: &Request, topic: &str) -> Result<Reply, Reply> {
        params::check_topic(topic)?;
        self.access.check_topic_data(request, topic)?;
        check_get(request)?;
        let since = params::since(request)?.unwrap_or(0);
        let epoch = request.query("epoch");
        let messages = self.read(topic, |topic| {
            let is_ours = epoch.is_none_or(|epoch| epoch == topic.epoch());
            topic.history(if is_ours { since } else { 0 })
        })?;
        let mut body = String::from("[");
        for message in &messages {
            let element = element(message);
            let is_first = body.len() == 1;
            if !is_first && body.len() + element.len() > MAX_HISTORY_ANSWER {
                break;
            }
            body.push_str(if is_first { "" } else { "," });
            body.push_str(&element);
        }
        body.push(']');
        Ok(Reply::json(200, body))
    }

    fn presence(&self, request: &Request, topic: &str) -> Result<Reply, Reply> {
        params::check_topic(topic)?;
        self.access.check_topic_data(request, topic)?;
        check_get(request)?;
        let names = self.read(topic, Topic::presence)?;
        Ok(Reply::json(200, to_json(&names)))
    }

    /// Returns what `read` finds in a topic, or nothing if the topic does not exist. With links, every topic may exist on
    /// another hub, so it is opened.
    fn read<T>(&self, name: &str, read: impl FnOnce(&Topic) -> Vec<T>) -> Result<Vec<T>, Reply> {
        if self.links.is_none() {
            return Ok(self.hub.get(name).as_ref().map_or_else(Vec::new, read));
        }
        let topic = self.hub.topic(name);
        let topic = topic.map_err(|error| busy(error.to_string()))?;
        let found = read(&topic);
        // A topic has no id until the links have given it one.
        match topic.last_id() {
            0 => Err(busy(SubscribeError::Unavailable.to_string())),
            _ => Ok(found),
        }
    }
}

fn upgrade(subprotocol: &str, identity: &Identity) -> Reply {
    let reply = Reply::upgrade().subprotocol(subprotocol);
    match identity.user() {
        Some(user) => reply.user(Arc::clone(user)),
        None => reply,
    }
}

/// One element of `GET /topics`.
#[derive(Serialize)]
struct TopicRow {
    topic: String,
    members: usize,
    id: u64,
    epoch: String,
    policy: String,
    queue: usize,
    history: usize,
    accepted: u64,
    delivered: u64,
    dropped: u64,
    discarded: u64,
}

impl TopicRow {
    fn new(topic: &Topic) -> TopicRow {
        let (counts, settings) = (topic.counts(), topic.settings());
        TopicRow {
            topic: topic.name().to_owned(),
            members: topic.members(),
            id: topic.last_id(),
            epoch: topic.epoch().to_owned(),
            policy: settings.policy.to_string(),
            queue: settings.queue,
            history: counts.history,
            accepted: counts.accepted,
            delivered: counts.delivered,
            dropped: counts.dropped,
            discarded: counts.discarded,
        }
    }
}
