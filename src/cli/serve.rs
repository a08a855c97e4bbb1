//! `standpipe serve`: runs the hub on its listeners, from the first printed line to the shutdown report.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use listenfd::ListenFd;
use standpipe::{Hub, Listener, Server};

use super::announce::announce;
use super::args::ServeArgs;
use super::dashboard::Dashboard;
use super::endpoint::{ADMIN, Endpoint};
use super::envelope::Json;
use super::http_publish::HttpPublisher;
use super::routes::Routes;
use super::values::{FIRST_FD, Listen};
use super::{Failure, exposure, figures, signals, stdout};

/// Serves until a signal arrives, and then prints the shutdown report.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    // First, so that no signal ends the process while it starts.
    let signals = signals::catch()?;
    // Before the sockets are bound, because the connection limit is computed from the soft limit of descriptors.
    if let Err(error) = standpipe::raise_descriptor_limit() {
        log::warn!("could not raise the descriptor limit: {error}");
    }
    let (server, endpoints) = listen(args)?;
    let (access, mut made_key) = exposure::access(args, &endpoints)?;
    let access = Arc::new(access);
    let handle = server.handle();
    let config = args.config();
    let mut settings = args.hub();
    settings.envelope = Some(Arc::new(Json));
    let hub = Hub::new(settings);
    let dashboard = Dashboard::start(
        handle.clone(),
        hub.clone(),
        Arc::clone(&access),
        config.queue_bytes,
    )?;
    let sweeper = hub.clone();
    handle.on_tick(move || sweeper.sweep());
    let (secrets, server_figures) = (Arc::clone(&access), (handle.clone(), hub.clone()));
    let _signals = signals.handle(
        handle.clone(),
        Box::new(move || secrets.reload()),
        Box::new(move || figures::line(&server_figures.0, &server_figures.1)),
    )?;
    // Printed last, because a script may connect as soon as it has read these lines.
    announce(&access, made_key.as_mut(), &endpoints, !args.no_echo);
    let routes = Routes {
        access,
        dashboard: Arc::clone(&dashboard),
        publisher: HttpPublisher::new(hub.clone(), config.max_message),
        hub,
        handle,
        has_echo: !args.no_echo,
        max_subscriptions: args.max_subscriptions,
    };
    let served = server.serve(routes);
    dashboard.end();
    for path in endpoints.iter().filter_map(Endpoint::unix) {
        // An error is ignored: the path may have been removed already.
        let _ = std::fs::remove_file(path);
    }
    let report = served?;
    log::info!("{report}");
    // An error is ignored: all clients have been served, even if standard output is closed or full.
    let _ = stdout::print(&format!("{report}\n"));
    Ok(())
}

/// Binds every listener. Returns the server and where it can be reached. The admin listeners are the last ones.
fn listen(args: &ServeArgs) -> Result<(Server, Vec<Endpoint>), Failure> {
    let mut inherited = ListenFd::from_env();
    let mut listeners = Vec::new();
    let mut endpoints = Vec::new();
    let public = args.listen.iter().map(|listen| (listen, false));
    let admin = args.admin_listen.iter().map(|listen| (listen, true));
    for (listen, is_admin) in public.chain(admin) {
        let listener = match listen {
            Listen::Tcp(address) => Listener::bind(address),
            Listen::Unix(path) => bind_unix(path).and_then(Listener::try_from),
            Listen::Fd(fd) => take_inherited(&mut inherited, fd - FIRST_FD),
        };
        let listener = listener.map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        endpoints.push(Endpoint::new(listen, &listener, is_admin));
        listeners.push(if is_admin {
            listener.tag(ADMIN).same_origin_only()
        } else {
            listener
        });
    }
    let server = Server::from_listeners(listeners, args.config());
    // The error is unwrapped, because a wrong origin pattern has its own exit code.
    let server = server.map_err(|error| match error.downcast::<standpipe::Error>() {
        Ok(error) => Failure::from(error),
        Err(error) => error.into(),
    })?;
    Ok((server, endpoints))
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
