//! `standpipe serve`: runs the hub on its listeners, from the first printed line to the shutdown report.

use std::sync::Arc;
use std::time::Instant;

use standpipe::Hub;

use super::admin::disconnect::Disconnector;
use super::admin::topic_data::TopicData;
use super::announce::announce;
use super::args::{ExecArgs, ServeArgs};
use super::certificate::Certificate;
use super::dashboard::{Dashboard, Experiments};
use super::endpoint::Endpoint;
use super::envelope::Json;
use super::exec::Exec;
use super::http_publish::HttpPublisher;
use super::links::Links;
use super::listen::listen;
use super::notify::Notify;
use super::reload::Reloader;
use super::routes::Routes;
use super::{Failure, client_log, exposure, figures, metrics, signals, stdout};

/// Serves until a signal arrives, and then prints the shutdown report. With a command, it runs beside the server.
pub(crate) fn run(args: &ServeArgs, command: Option<&ExecArgs>) -> Result<(), Failure> {
    metrics::process::started();
    // First, so that no signal ends the process while it starts.
    let signals = signals::catch()?;
    // Before the sockets are bound, because the connection limit is computed from the soft limit of descriptors.
    if let Err(error) = standpipe::raise_descriptor_limit() {
        log::warn!("could not raise the descriptor limit: {error}");
    }
    let config = args.config();
    let (queue_bytes, max_message) = (config.queue_bytes, config.max_message);
    let hub = args.hub().envelope(Json);
    // If the start fails, the links end when they are dropped.
    let links = Links::start(args, &hub, max_message)?;
    let hub = Hub::new(Links::hub(links.as_ref(), hub));
    let config = config.hub(&hub);
    let certificate = Certificate::of(args)?;
    let (server, endpoints, channel) = listen(args, config, certificate.as_ref())?;
    let (access, mut made_key) = exposure::access(args, &endpoints)?;
    for warning in certificate.iter().flat_map(Certificate::warnings) {
        log::warn!("{warning}");
    }
    let access = Arc::new(access);
    let handle = server.handle();
    let disconnector = Arc::new(Disconnector::new(handle.clone(), links.clone()));
    let experiments = Experiments::new(handle.clone(), channel, hub.clone(), Arc::clone(&access));
    let dashboard = Dashboard::start(
        handle.clone(),
        hub.clone(),
        links.clone(),
        experiments,
        Arc::clone(&disconnector),
        queue_bytes,
        !args.pages.no_page,
    )?;
    let exec = command.map(|args| Exec::start(args, &hub, max_message, handle.clone()));
    let exec = exec.transpose()?;
    let group = exec.as_ref().map(Exec::group);
    let notify = Notify::from_env();
    let _watched = notify.watch(&handle);
    let expiring = Arc::clone(&access);
    let _expiries = handle.on_tick(move || expiring.expiries.close_expired(Instant::now()));
    let _left_out = handle.on_tick(client_log::log_due);
    let reloader = Reloader::new(args, hub.clone(), Arc::clone(&access), certificate.clone());
    let server_figures = (handle.clone(), hub.clone(), links.clone());
    let _signals = signals.handle(
        handle.clone(),
        Box::new(move || reloader.reload()),
        Box::new(move || {
            let (handle, hub, links) = &server_figures;
            figures::line(handle, hub, links.as_ref())
        }),
        Arc::clone(&notify),
        Box::new(move || group.iter().for_each(|group| group.kill())),
    )?;
    // Printed last, because a script may connect as soon as it has read these lines.
    let servers = links.as_ref().map_or_else(Vec::new, Links::addresses);
    announce(
        &access,
        made_key.as_mut(),
        &endpoints,
        !args.no_echo,
        &servers,
    );
    disconnector.follow();
    notify.ready(status(&endpoints));
    let routes = Routes {
        access,
        dashboard: Arc::clone(&dashboard),
        publisher: HttpPublisher::new(hub.clone(), max_message, links.clone()),
        topic_data: TopicData::new(hub.clone(), links.is_some()),
        disconnector,
        hub,
        links: links.clone(),
        certificate,
        input: exec.as_ref().map(Exec::input),
        handle,
        has_echo: !args.no_echo,
        has_page: !args.pages.no_page,
        max_subscriptions: args.max_subscriptions,
    };
    let served = server.serve(routes);
    client_log::log_rest();
    notify.stopping();
    dashboard.end();
    // After the clients have gone, so that the command serves them to the end. Before the links, because its last lines are
    // published.
    let command = exec.map_or(Ok(()), Exec::end);
    // After the clients have gone, because the last of them may still have published.
    if let Some(links) = &links {
        links.shutdown();
    }
    let report = served?;
    log::info!("{report}");
    // An error is ignored: all clients have been served, even if standard output is closed or full.
    let _ = stdout::write_now(&format!("{report}\n"));
    command
}

/// Returns the line that `systemctl status` shows.
fn status(endpoints: &[Endpoint]) -> String {
    let listeners: Vec<String> = endpoints.iter().map(Endpoint::shown).collect();
    format!("listening on {}", listeners.join(", "))
}
