//! `standpipe serve`: runs the hub on its listeners, from the first printed line to the shutdown report.

use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use listenfd::ListenFd;
use standpipe::{Hub, Listener, Server, ServerHandle};

use super::access::Access;
use super::address::reachable;
use super::args::ServeArgs;
use super::dashboard::Dashboard;
use super::envelope::Json;
use super::http_publish::HttpPublisher;
use super::routes::Routes;
use super::secrets::Secrets;
use super::values::{FIRST_FD, Listen};
use super::{Failure, figures, signals};

/// Serves until a signal arrives, and then prints the shutdown report.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    // First, so that no signal ends the process while it starts.
    let signals = signals::catch()?;
    let read = |path: &Option<PathBuf>| path.as_deref().map(Secrets::read).transpose();
    let (tokens, keys) = (read(&args.token_file)?, read(&args.publish_key_file)?);
    // Before the sockets are bound, because the connection limit is computed from the soft limit of descriptors.
    if let Err(error) = standpipe::raise_descriptor_limit() {
        log::warn!("could not raise the descriptor limit: {error}");
    }
    let (server, sockets) = listen(args)?;
    let handle = server.handle();
    let config = args.config();
    let mut settings = args.hub();
    settings.envelope = Some(Arc::new(Json));
    let hub = Hub::new(settings);
    let token = tokens.as_ref().and_then(Secrets::first).map(str::to_owned);
    let dashboard = Dashboard::start(handle.clone(), hub.clone(), token, config.queue_bytes)?;
    let sweeper = hub.clone();
    handle.on_tick(move || sweeper.sweep());
    let figures = (handle.clone(), hub.clone());
    let _signals = signals.handle(
        handle.clone(),
        Box::new(|| Ok(())),
        Box::new(move || figures::line(&figures.0, &figures.1)),
    )?;
    // Printed last, because a script may connect as soon as it has read these lines.
    announce(&handle, &sockets)?;
    let routes = Routes {
        access: Access {
            tokens,
            keys,
            is_loopback_only: handle.is_loopback_only(),
        },
        dashboard: Arc::clone(&dashboard),
        publisher: HttpPublisher::new(hub.clone(), config.max_message),
        hub,
        handle,
        has_echo: !args.no_echo,
        max_subscriptions: args.max_subscriptions,
    };
    let served = server.serve(routes);
    dashboard.end();
    for path in &sockets {
        // An error is ignored: the path may have been removed already.
        let _ = std::fs::remove_file(path);
    }
    let report = served?;
    log::info!("{report}");
    // An error is ignored: all clients have been served, even if standard output is closed.
    let _ = writeln!(io::stdout(), "{report}");
    Ok(())
}

/// Binds every listener. Returns the server and the paths of its unix sockets.
fn listen(args: &ServeArgs) -> Result<(Server, Vec<PathBuf>), Failure> {
    let mut inherited = ListenFd::from_env();
    let mut listeners = Vec::new();
    let mut sockets = Vec::new();
    for listen in &args.listen {
        let listener = match listen {
            Listen::Tcp(address) => Listener::bind(address),
            Listen::Unix(path) => {
                sockets.push(path.clone());
                bind_unix(path).and_then(Listener::try_from)
            }
            Listen::Fd(fd) => take_inherited(&mut inherited, fd - FIRST_FD),
        };
        listeners.push(listener.map_err(|error| format!("cannot listen on {listen}: {error}"))?);
    }
    let server = Server::from_listeners(listeners, args.config());
    // The error is unwrapped, because a wrong origin pattern has its own exit code.
    let server = server.map_err(|error| match error.downcast::<standpipe::Error>() {
        Ok(error) => Failure::from(error),
        Err(error) => error.into(),
    })?;
    Ok((server, sockets))
}

/// Takes a listening socket that the parent process opened and announced in `LISTEN_FDS` and `LISTEN_PID`
/// (sd_listen_fds(3)).
fn take_inherited(inherited: &mut ListenFd, index: usize) -> io::Result<Listener> {
    let missing = || {
        io::Error::new(
            io::ErrorKind::NotFound,
            "LISTEN_FDS and LISTEN_PID announce no such socket",
        )
    };
    // The socket may be of either kind. Asking for the wrong kind fails and leaves it in place.
    match inherited.take_tcp_listener(index) {
        Ok(listener) => listener.ok_or_else(missing)?.try_into(),
        Err(_) => inherited
            .take_unix_listener(index)?
            .ok_or_else(missing)?
            .try_into(),
    }
}

/// Binds a unix socket. A socket file that nothing listens on any more is replaced. If a process still listens on it, this
/// fails.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
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

/// Prints where the server listens.
fn announce(handle: &ServerHandle, sockets: &[PathBuf]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for address in handle.local_addrs() {
        let address = reachable(*address);
        writeln!(out, "standpipe listening on http://{address}/")?;
        writeln!(
            out,
            "  ws://{address}/echo          sends every message back"
        )?;
        writeln!(
            out,
            "  ws://{address}/ws/TOPIC      publishes to everyone connected to TOPIC"
        )?;
        writeln!(
            out,
            "  http://{address}/dashboard   shows every client's queue and threads, live"
        )?;
    }
    for path in sockets {
        writeln!(out, "standpipe listening on unix:{}", path.display())?;
    }
    out.flush()
}
