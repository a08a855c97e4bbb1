//! `standpipe serve`: runs the hub on its listeners, from the first printed line to the shutdown report.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process;
use std::sync::Arc;

use standpipe::{Hub, ServerHandle};

use super::access::Access;
use super::address::reachable;
use super::args::ServeArgs;
use super::dashboard::Dashboard;
use super::envelope::Json;
use super::http_publish::HttpPublisher;
use super::listen::listen;
use super::routes::Routes;
use super::secret_file::SecretFile;
use super::{Failure, exit};

/// Serves until a signal arrives, and then prints the shutdown report.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let read = |kind, path: &Option<PathBuf>| {
        let file = path.as_deref().map(|path| SecretFile::read(kind, path));
        file.transpose()
    };
    let access = Access {
        tokens: read("tokens", &args.token_file)?,
        keys: read("keys", &args.publish_key_file)?,
        is_loopback_only: false,
    };
    // Before the sockets are bound, because the connection limit is computed from the soft limit of descriptors.
    if let Err(error) = standpipe::raise_descriptor_limit() {
        log::warn!("could not raise the descriptor limit: {error}");
    }
    let (server, sockets) = listen(args)?;
    let handle = server.handle();
    on_signals(handle.clone())?;
    let config = args.config();
    let mut settings = args.hub();
    settings.envelope = Some(Arc::new(Json));
    let hub = Hub::new(settings);
    let tokens = access.tokens.as_ref().map(SecretFile::secrets);
    let token = tokens.and_then(|tokens| tokens.first().map(str::to_owned));
    let dashboard = Dashboard::start(handle.clone(), hub.clone(), token, config.queue_bytes)?;
    let sweeper = hub.clone();
    handle.on_tick(move || sweeper.sweep());
    // Printed last, because a script may connect as soon as it has read these lines.
    announce(&handle, &sockets)?;
    let routes = Routes {
        access: Access {
            is_loopback_only: handle.is_loopback_only(),
            ..access
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
    let report = served?;
    log::info!("{report}");
    // An error is ignored: all clients have been served, even if standard output is closed.
    let _ = writeln!(io::stdout(), "{report}");
    Ok(())
}

/// Begins the shutdown on the first Ctrl-C or SIGTERM, and exits immediately on the second.
fn on_signals(handle: ServerHandle) -> Result<(), Failure> {
    ctrlc::set_handler(move || {
        if handle.is_shutting_down() {
            process::exit(exit::INTERRUPTED);
        }
        log::info!("shutting down; press Ctrl-C again to exit immediately");
        handle.shutdown();
    })?;
    Ok(())
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
