//! `standpipe serve`: runs the hub on its listeners, from the first printed line to the shutdown report.

use std::sync::Arc;

use standpipe::Hub;

use super::announce::announce;
use super::args::ServeArgs;
use super::dashboard::Dashboard;
use super::envelope::Json;
use super::http_publish::HttpPublisher;
use super::listen::listen;
use super::routes::Routes;
use super::{Failure, exposure, figures, signals, stdout};

/// Serves until a signal arrives, and then prints the shutdown report.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    // First, so that no signal ends the process while it starts.
    let signals = signals::catch()?;
    // Before the sockets are bound, because the connection limit is computed from the soft limit of descriptors.
    if let Err(error) = standpipe::raise_descriptor_limit() {
        log::warn!("could not raise the descriptor limit: {error}");
    }
    let hub = Hub::new(args.hub().envelope(Json));
    let config = args.config().hub(&hub);
    let (queue_bytes, max_message) = (config.queue_bytes, config.max_message);
    let (server, endpoints) = listen(args, config)?;
    let (access, mut made_key) = exposure::access(args, &endpoints)?;
    let access = Arc::new(access);
    let handle = server.handle();
    let dashboard = Dashboard::start(
        handle.clone(),
        hub.clone(),
        Arc::clone(&access),
        queue_bytes,
    )?;
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
        publisher: HttpPublisher::new(hub.clone(), max_message),
        hub,
        handle,
        has_echo: !args.no_echo,
        max_subscriptions: args.max_subscriptions,
    };
    let served = server.serve(routes);
    dashboard.end();
    let report = served?;
    log::info!("{report}");
    // An error is ignored: all clients have been served, even if standard output is closed or full.
    let _ = stdout::write_now(&format!("{report}\n"));
    Ok(())
}
