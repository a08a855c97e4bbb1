//! The log line at the end of a connection, which says all about it: its client, its path, how long it lasted, what was
//! sent both ways, and how it was closed.

use std::time::Duration;

use log::Level;
use log::kv::Value;

use crate::connection::Connection;
use crate::connection::client_name::TARGET;
use crate::connection::close_cause::CloseCause;
use crate::connection::shared::Shared;
use crate::escape::escaped;
use crate::server::refusal_log::{Refusal, RefusalLog};

/// Logs the end of a connection that was open for `open_for`. A violation is also logged as a warning. The handler has
/// returned, and the writer has ended, so the counts are final.
pub(super) fn log(conn: &Connection, shared: &Shared, open_for: Duration, refusals: &RefusalLog) {
    let Some(cause) = shared.lifecycle().cause() else {
        return;
    };
    let client = shared.name.get();
    if let CloseCause::Violation { code, reason } = &cause {
        refusals.log_with(
            Refusal::Violation,
            &client,
            &[("code", (*code).into())],
            format_args!("violation: {code}, {reason}"),
        );
    }
    let counts = shared.counts();
    let seconds = open_for.as_secs_f64();
    let path = conn.request().path();
    let close = cause.to_string();
    let mut fields = vec![
        ("path", Value::from(path)),
        ("duration_s", seconds.into()),
        ("received", counts.received.into()),
        ("received_bytes", counts.received_bytes.into()),
        ("accepted", counts.accepted.into()),
        ("delivered", counts.delivered.into()),
        ("delivered_bytes", counts.delivered_bytes.into()),
        ("dropped", counts.dropped.into()),
        ("discarded", counts.discarded.into()),
        ("close", close.as_str().into()),
    ];
    fields.extend(cause.code().map(|code| ("code", code.into())));
    let tls = shared.tls.version().map(|version| version.to_string());
    let mut over = String::new();
    if let Some(version) = &tls {
        fields.push(("tls", version.as_str().into()));
        over = format!(" over {version}");
    }
    client.log(
        TARGET,
        Level::Debug,
        &fields,
        format_args!(
            "{} ended after {seconds:.3} s{over}: {close}; received {} messages, {} bytes; sent {} of {} messages, {} bytes",
            escaped(path),
            counts.received,
            counts.received_bytes,
            counts.delivered,
            counts.accepted,
            counts.delivered_bytes
        ),
    );
}
