//! What only the binary needs: its commands and their arguments. The library never imports this directory.

// Arguments, checked before anything is started.
pub(crate) mod args;
pub(crate) mod config;
#[path = "../line_throttle.rs"]
pub(crate) mod line_throttle;
#[path = "../names.rs"]
pub(crate) mod names;
#[cfg(feature = "redis")]
pub(crate) mod redis_url;
pub(crate) mod topics;
pub(crate) mod units;
pub(crate) mod values;

pub(crate) mod check_config;

// `serve`: listeners, paths, and who may use them.
pub(crate) mod client_log;
pub(crate) mod figures;
mod inherited;
pub(crate) mod journal;
mod listen;
pub(crate) mod logs;
pub(crate) mod notify;
pub(crate) mod reload;
pub(crate) mod serve;
pub(crate) mod signals;

pub(crate) mod route_name;
pub(crate) mod routes;

pub(crate) mod access;
pub(crate) mod announce;
#[cfg(feature = "tls")]
pub(crate) mod certificate;
#[cfg(not(feature = "tls"))]
#[path = "no_certificate.rs"]
pub(crate) mod certificate;
pub(crate) mod endpoint;
pub(crate) mod exposure;
#[cfg(feature = "redis")]
pub(crate) mod links;
#[cfg(not(feature = "redis"))]
#[path = "no_links.rs"]
pub(crate) mod links;
pub(crate) mod made_key;
pub(crate) mod params;
pub(crate) mod permits;
pub(crate) mod replies;
pub(crate) mod rules;
pub(crate) mod secret_file;
pub(crate) mod secrets;
pub(crate) mod tokens;

pub(crate) mod page;

// Requests about topics and clients.
pub(crate) mod admin;

// Publishing and subscribing.
pub(crate) mod http_publish;
pub(crate) mod publish_counts;

pub(crate) mod raw;

pub(crate) mod exec;

pub(crate) mod answers;
pub(crate) mod command;
pub(crate) mod envelope;
pub(crate) mod ids;
#[path = "../nesting.rs"]
pub(crate) mod nesting;
pub(crate) mod parser;
pub(crate) mod renewal;
pub(crate) mod session;

// What the server shows about itself.
pub(crate) mod dashboard;
pub(crate) mod debug;
pub(crate) mod exposition;
pub(crate) mod metrics;

// The commands that are clients, and what they share.
pub(crate) mod address;
pub(crate) mod dial;
pub(crate) mod percent;
pub(crate) mod refusal;
#[cfg(feature = "tls")]
pub(crate) mod secure;
#[cfg(not(feature = "tls"))]
#[path = "no_secure.rs"]
pub(crate) mod secure;
pub(crate) mod stdout;
pub(crate) mod stream;
pub(crate) mod terminal;
pub(crate) mod throttle;
pub(crate) mod url;

pub(crate) mod client;
pub(crate) mod kept_connection;
pub(crate) mod publish;
pub(crate) mod top;

pub(crate) mod bench;

pub(crate) mod token;

// The files that packages install.
pub(crate) mod completions;
pub(crate) mod man;

pub(crate) mod exit;

/// The error that ends a handler or a whole command.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
