//! `standpipe serve`: the hub on its listeners, from the first line it prints to its report.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;

use standpipe::{Connection, Handler, Hub, Listener, Reply, Request, Server, ServerHandle};

use super::args::ServeArgs;
use super::values::Listen;
use super::{debug, exit};

const PAGE: &str = include_str!("pages/index.html");

/// Topic names have 1 to so many bytes.
const TOPIC_BYTES: usize = 200;

type Failure = Box<dyn Error + Send + Sync>;

/// Serves until a signal, and prints what became of the clients.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let (server, sockets) = listen(args)?;
    let handle = server.handle();
    on_signals(handle.clone())?;
    announce(&handle, &sockets)?;
    let site = Site {
        hub: Hub::new(),
        echo: !args.no_echo,
        handle,
    };
    let served = server.serve(site);
    for path in &sockets {
        // Left behind it would stand in the next start's way; gone already, it does not.
        let _ = std::fs::remove_file(path);
    }
    let report = served?;
    log::info!("{report}");
    // Nobody may be reading any more, and the work is done.
    let _ = writeln!(io::stdout(), "{report}");
    Ok(())
}

fn listen(args: &ServeArgs) -> Result<(Server, Vec<PathBuf>), Failure> {
    let mut listeners = Vec::new();
    let mut sockets = Vec::new();
    for listen in &args.listen {
        let bound = match listen {
            Listen::Tcp(address) => Listener::bind(address),
            Listen::Unix(path) => {
                sockets.push(path.clone());
                bind_unix(path).and_then(Listener::try_from)
            }
        };
        listeners
            .push(bound.map_err(|error| format!("cannot listen on {}: {error}", shown(listen)))?);
    }
    let server = Server::from_listeners(listeners, args.config());
    // A wrong pattern is the caller's mistake, and has an exit code of its own.
    let server = server.map_err(|error| match error.downcast::<standpipe::Error>() {
        Ok(pattern) => Failure::from(pattern),
        Err(error) => error.into(),
    })?;
    Ok((server, sockets))
}

fn shown(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => address.clone(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Binds a unix socket. One left behind by a process that is gone is replaced; one that answers is not ours.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::net::UnixStream;
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match UnixStream::connect(path) {
            Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            _ => Err(error),
        },
        bound => bound,
    }
}

/// The first Ctrl-C or SIGTERM closes the house, the second leaves it.
fn on_signals(handle: ServerHandle) -> Result<(), Failure> {
    ctrlc::set_handler(move || {
        if handle.is_shutting_down() {
            process::exit(exit::INTERRUPTED);
        }
        log::info!("shutting down; once more leaves at once");
        handle.shutdown();
    })?;
    Ok(())
}

fn announce(handle: &ServerHandle, sockets: &[PathBuf]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for address in handle.local_addrs() {
        let address = openable(*address);
        writeln!(out, "standpipe listening on http://{address}/")?;
        writeln!(out, "  ws://{address}/echo       every message comes back")?;
        writeln!(
            out,
            "  ws://{address}/ws/TOPIC   what you send goes to all of TOPIC"
        )?;
    }
    for path in sockets {
        writeln!(out, "standpipe listening on unix:{}", path.display())?;
    }
    out.flush()
}

/// An address that a person on this machine can open.
fn openable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// What stands at which path.
struct Site {
    hub: Hub,
    echo: bool,
    handle: ServerHandle,
}

impl Handler for Site {
    fn request(&self, request: &mut Request) -> Reply {
        let path: Vec<&str> = request.segments().iter().map(String::as_str).collect();
        match path[..] {
            ["echo"] if self.echo => Reply::upgrade(),
            ["ws", topic] => match topic.len() {
                1..=TOPIC_BYTES => Reply::upgrade(),
                _ => Reply::text(400, "a topic has 1 to 200 bytes\n"),
            },
            [] => get(request, || Reply::html(PAGE)),
            ["healthz"] => get(request, || Reply::text(200, "ok\n")),
            ["readyz"] => get(request, || {
                if self.handle.is_shutting_down() {
                    Reply::text(503, "shutting down\n")
                } else {
                    Reply::text(200, "ready\n")
                }
            }),
            ["debug", "clients"] => {
                self.private(request, || debug::clients(&self.handle, &self.hub))
            }
            _ => Reply::text(404, "nothing here; / says what there is\n"),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Failure> {
        match conn.request().segments() {
            [_, topic] => {
                let topic = topic.clone();
                self.relay(conn, &topic)
            }
            _ => echo(conn),
        }
    }
}

/// What a proxy adds: with one of these the request is somebody else's, from wherever.
const FORWARDED: [&str; 4] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];

impl Site {
    /// A page for whoever sits at this machine: every listener and the peer are on loopback, and no proxy stands
    /// between.
    fn private(&self, request: &Request, page: impl FnOnce() -> Reply) -> Reply {
        let forwarded = FORWARDED
            .iter()
            .any(|name| request.headers().contains_key(*name));
        if self.handle.is_loopback_only() && request.peer().is_loopback() && !forwarded {
            get(request, page)
        } else {
            Reply::text(403, "this is shown on loopback only\n")
        }
    }

    /// Raw mode: what this client sends goes to every member, itself too unless it asked for `echo=false`.
    fn relay(&self, conn: &mut Connection, topic: &str) -> Result<(), Failure> {
        let topic = self.hub.topic(topic);
        let _member = topic.subscribe(conn.outbox());
        let echo = conn.request().query("echo") != Some("false");
        while let Some(message) = conn.recv()? {
            if echo {
                topic.publish(&message);
            } else {
                topic.publish_except(&message, conn.number());
            }
        }
        Ok(())
    }
}

fn echo(conn: &mut Connection) -> Result<(), Failure> {
    while let Some(message) = conn.recv()? {
        conn.send(message)?;
    }
    Ok(())
}

/// A page that is only read.
fn get(request: &Request, page: impl FnOnce() -> Reply) -> Reply {
    use http::{HeaderValue, Method, header::ALLOW};
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        page()
    } else {
        Reply::status(405).header(ALLOW, HeaderValue::from_static("GET, HEAD"))
    }
}
