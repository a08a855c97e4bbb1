//! [`Routes`]: what each path does, and which requests may use it.

use std::sync::Arc;

use http::Method;
use standpipe::{Connection, Handler, Hub, Reply, Request, ServerHandle};

use super::access::Access;
use super::admin::disconnect::Disconnector;
use super::admin::topic_data::TopicData;
use super::certificate::Certificate;
use super::dashboard::{Dashboard, LIVE};
use super::exec::Input;
use super::http_publish::HttpPublisher;
use super::links::Links;
use super::page::{DASHBOARD, PAGE};
use super::renewal::Renewal;
use super::replies::{bad_request, check_get, check_method, check_post, not_found};
use super::route_name::route_name;
use super::session::Session;
use super::tokens::Identity;
use super::{Failure, debug, metrics, params, raw};

/// The subprotocol of JSON mode.
const PROTOCOL: &str = "standpipe.v1";

/// The subprotocol of all other WebSockets. A browser that sends a token as a subprotocol closes the connection unless the
/// server selects one of the offered subprotocols. The token itself must not be sent back, so the server selects this
/// one.
const RAW: &str = "standpipe.raw";

pub(crate) struct Routes {
    pub(crate) access: Arc<Access>,
    pub(crate) dashboard: Arc<Dashboard>,
    pub(crate) hub: Hub,
    pub(crate) links: Option<Links>,
    pub(crate) certificate: Option<Certificate>,
    /// The command of `standpipe exec`.
    pub(crate) input: Option<Arc<Input>>,
    pub(crate) handle: ServerHandle,
    pub(crate) publisher: HttpPublisher,
    pub(crate) topic_data: TopicData,
    pub(crate) disconnector: Arc<Disconnector>,
    pub(crate) has_echo: bool,
    pub(crate) has_page: bool,
    pub(crate) max_subscriptions: usize,
}

impl Handler for Routes {
    fn request(&self, request: &mut Request) -> Reply {
        let path: Vec<String> = request.segments().to_vec();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(route) = route_name(&path) {
            request.set_route(route);
        }
        let answer = match path[..] {
            [] if self.has_page => check_get(request).map(|()| Reply::html(PAGE)),
            ["healthz"] => check_get(request).map(|()| Reply::text(200, "ok\n")),
            ["readyz"] => check_get(request).map(|()| self.ready()),
            ["metrics"] => self
                .access
                .check_metrics(request)
                .and_then(|()| check_get(request))
                .map(|()| self.metrics(request)),
            ["echo"] if self.has_echo => self
                .access
                .admit(request)
                .map(|identity| upgrade(RAW, &identity)),
            ["ws"] => self.json_mode(request),
            ["ws", topic] => self.raw_mode(request, topic),
            ["publish"] => self
                .access
                .check_admin(request)
                .and_then(|()| check_post(request))
                .and_then(|()| self.publisher.broadcast(request)),
            ["publish", topic] => self
                .access
                .check_admin(request)
                .and_then(|()| check_post(request))
                .and_then(|()| self.publisher.publish(request, topic)),
            ["topics"] => self
                .access
                .check_admin(request)
                .and_then(|()| check_get(request))
                .map(|()| self.topic_data.topics()),
            ["topics", topic] => self
                .access
                .check_admin(request)
                .and_then(|()| params::check_topic(topic))
                .and_then(|()| check_get(request))
                .and_then(|()| self.topic_data.topic(topic)),
            ["topics", topic, "history"] => self.history(request, topic),
            ["topics", topic, "presence"] => self.presence(request, topic),
            ["clients", number, "disconnect"] => self
                .access
                .check_admin(request)
                .and_then(|()| check_post(request))
                .and_then(|()| self.disconnector.client(request, number)),
            ["users", user, "disconnect"] => self
                .access
                .check_admin(request)
                .and_then(|()| check_post(request))
                .and_then(|()| self.disconnector.user(request, user)),
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
                raw::relay(&self.hub, conn, &topic, rights, self.input.as_deref())
            }
            [ws] if ws == "ws" => {
                let name = identity.name(conn.request()).map(str::to_owned);
                let rights = self.access.rights(identity);
                let renewal = Renewal::new(&self.access.tokens, expiry);
                Session::new(&self.hub, name, self.max_subscriptions, rights, renewal)
                    .input(self.input.as_deref())
                    .run(conn)
            }
            _ => raw::echo(conn),
        }
    }
}

impl Routes {
    fn metrics(&self, request: &Request) -> Reply {
        let (links, certificate) = (self.links.as_ref(), self.certificate.as_ref());
        metrics::text(request, &self.handle, &self.hub, links, certificate)
    }

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

    /// A topic's history: read by subscribers, removed by admin requests.
    fn history(&self, request: &Request, topic: &str) -> Result<Reply, Reply> {
        params::check_topic(topic)?;
        if *request.method() == Method::DELETE {
            self.access.check_admin(request)?;
            return self.topic_data.clear_history(topic);
        }
        self.access.check_topic_data(request, topic)?;
        check_method(request, &[Method::GET, Method::HEAD, Method::DELETE])?;
        self.topic_data.history(request, topic)
    }

    fn presence(&self, request: &Request, topic: &str) -> Result<Reply, Reply> {
        params::check_topic(topic)?;
        self.access.check_topic_data(request, topic)?;
        check_get(request)?;
        self.topic_data.presence(topic)
    }
}

fn upgrade(subprotocol: &str, identity: &Identity) -> Reply {
    let reply = Reply::upgrade().subprotocol(subprotocol);
    match identity.user() {
        Some(user) => reply.user(Arc::clone(user)),
        None => reply,
    }
}
