//! `standpipe serve`: the hub on its listeners, from the first line it prints to its report.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use listenfd::ListenFd;
use standpipe::{Hub, Listener, Server, ServerHandle};

use super::args::ServeArgs;
use super::dashboard::Dashboard;
use super::envelope::Json;
use super::places::Places;
use super::secrets::Secrets;
use super::site::Site;
use super::values::{FIRST_FD, Listen};
use super::{Failure, exit};

/// Requests that may publish at a time: half of the requests there may be.
const PUBLISHING: usize = 128;

/// Serves until a signal, and prints what became of the clients.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let read = |path: &Option<PathBuf>| path.as_deref().map(Secrets::read).transpose();
    let (tokens, keys) = (read(&args.token_file)?, read(&args.publish_key_file)?);
    let (server, sockets) = listen(args)?;
    let handle = server.handle();
    on_signals(handle.clone())?;
    let mut settings = args.hub();
    settings.envelope = Some(Arc::new(Json));
    let hub = Hub::new(settings);
    let token = tokens.as_ref().and_then(Secrets::first).map(str::to_owned);
    let dashboard = Dashboard::start(
        handle.clone(),
        hub.clone(),
        token,
        args.config().queue_bytes,
    )?;
    let sweeper = hub.clone();
    handle.on_tick(move || sweeper.sweep());
    // Who listens is told last: whoever waits for these lines finds the house complete.
    announce(&handle, &sockets)?;
    let site = Site {
        dashboard: Arc::clone(&dashboard),
        hub,
        handle,
        echo: !args.no_echo,
        max_subscriptions: args.max_subscriptions,
        max_body: args.config().max_message,
        publishing: Places::new(PUBLISHING),
        tokens,
        keys,
    };
    let served = server.serve(site);
    dashboard.end();
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
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    let mut sockets = Vec::new();
    for listen in &args.listen {
        let bound = match listen {
            Listen::Tcp(address) => Listener::bind(address),
            Listen::Unix(path) => {
                sockets.push(path.clone());
                bind_unix(path).and_then(Listener::try_from)
            }
            Listen::Fd(fd) => passed_on(&mut passed, fd - FIRST_FD),
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
        Listen::Fd(fd) => format!("fd:{fd}"),
    }
}

/// A socket that whoever started us has opened, and named in `LISTEN_FDS` and `LISTEN_PID` (sd_listen_fds(3)).
fn passed_on(passed: &mut ListenFd, index: usize) -> io::Result<Listener> {
    let none = || {
        io::Error::new(
            io::ErrorKind::NotFound,
            "LISTEN_FDS and LISTEN_PID name no such socket",
        )
    };
    // It may be of either kind; asking for the wrong one leaves it there.
    match passed.take_tcp_listener(index) {
        Ok(listener) => listener.ok_or_else(none)?.try_into(),
        Err(_) => passed
            .take_unix_listener(index)?
            .ok_or_else(none)?
            .try_into(),
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
        writeln!(
            out,
            "  ws://{address}/echo          every message comes back"
        )?;
        writeln!(
            out,
            "  ws://{address}/ws/TOPIC      what you send goes to all of TOPIC"
        )?;
        writeln!(
            out,
            "  http://{address}/dashboard   every client's queue and threads, live"
        )?;
    }
    for path in sockets {
        writeln!(out, "standpipe listening on unix:{}", path.display())?;
    }
    out.flush()
}

/// An address that a person on this machine can open.
pub(super) fn openable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
