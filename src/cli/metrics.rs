//! `GET /metrics`: totals in a text format of Prometheus (`exposition.rs`). The library counts, and this module shows
//! what it has counted. Names that clients choose are never labels, because their number is not limited.

mod family;
mod hub;
pub(crate) mod process;
mod server;

use std::fmt;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;
use standpipe::{Hub, Reply, Request, ServerHandle};

use super::certificate::Certificate;
use super::links::Links;
use super::{exposition, logs};

#[cfg(feature = "redis")]
pub(crate) use family::encode_durations;

/// Returns the answer, with the current figures.
pub(crate) fn text(
    request: &Request,
    handle: &ServerHandle,
    hub: &Hub,
    links: Option<&Links>,
    certificate: Option<&Certificate>,
) -> Reply {
    match write(handle, hub, links, certificate) {
        Ok(text) => exposition::reply(request, text),
        Err(error) => Reply::text(500, format!("{error}\n")),
    }
}

fn write(
    handle: &ServerHandle,
    hub: &Hub,
    links: Option<&Links>,
    certificate: Option<&Certificate>,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("standpipe");
    family::info(
        &mut registry,
        "build_info",
        "The version of the program, as a label of the value 1",
        vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
    );
    server::register(&mut registry, handle);
    family::gauge(
        &mut registry,
        "tls_certificate_not_after_seconds",
        "When the certificate in force expires, in seconds since 1970; 0 without TLS",
        certificate.map_or(0, Certificate::not_after) as f64,
    );
    hub::register(&mut registry, hub);
    family::counter(
        &mut registry,
        "log_lines_dropped",
        "Log lines dropped, because standard error was not read",
        logs::dropped_lines(),
    );
    if let Some(links) = links {
        links.register(&mut registry);
    }
    let mut process = Registry::default();
    process::register(&mut process);

    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    encode_registry(&mut text, &process)?;
    encode_eof(&mut text)?;
    Ok(text)
}
