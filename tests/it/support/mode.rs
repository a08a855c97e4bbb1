//! Whether the servers and clients of these tests speak TLS. `STANDPIPE_TEST_TLS=1` gives TLS to all of them, except to
//! the servers that a test makes with [`TestServer::plain`](super::TestServer::plain) or [`Plain`], and says why.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use standpipe::{Config, Listener, Server};

/// The variable that chooses the mode, for this process and for the processes in which tests run alone.
const SWITCH: &str = "STANDPIPE_TEST_TLS";

/// Whether there is TLS. The first call prints the answer, also if the output of tests is captured.
static OVER_TLS: LazyLock<bool> = LazyLock::new(|| {
    let over_tls = match env::var(SWITCH).unwrap_or_default().as_str() {
        "" | "0" => false,
        "1" if cfg!(feature = "tls") => true,
        "1" => panic!("{SWITCH}=1 needs the feature `tls`"),
        other => panic!("{SWITCH} is 1 or nothing, and not {other:?}"),
    };
    let mode = match over_tls {
        true => "every connection has TLS, except where a test asks for a plain one",
        false => "plain connections; for TLS, set STANDPIPE_TEST_TLS=1",
    };
    // `eprintln!` would be captured.
    let _ = writeln!(io::stderr(), "tests/it: {mode}");
    over_tls
});

/// The ports of the servers without TLS, each with the number of its [`Plain`]s.
static PLAIN: Mutex<BTreeMap<u16, usize>> = Mutex::new(BTreeMap::new());

pub(crate) fn over_tls() -> bool {
    *OVER_TLS
}

/// The ports of a server that has no TLS in any mode, until the value is dropped.
#[derive(Debug, Default)]
pub(crate) struct Plain(Vec<u16>);

impl Plain {
    pub(crate) fn at(addresses: &[SocketAddr]) -> Plain {
        let mut plain = PLAIN.lock().expect("no thread panics with this lock");
        for address in addresses {
            *plain.entry(address.port()).or_default() += 1;
        }
        Plain(addresses.iter().map(SocketAddr::port).collect())
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let mut plain = PLAIN.lock().expect("no thread panics with this lock");
        for port in &self.0 {
            match plain.get_mut(port) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(plain.remove(port)),
            }
        }
    }
}

/// Returns whether a client of the server at `address` speaks TLS.
pub(crate) fn has_tls(address: SocketAddr) -> bool {
    let plain = PLAIN.lock().expect("no thread panics with this lock");
    over_tls() && !plain.contains_key(&address.port())
}

/// Returns the status that a client gets if the server refuses it before it has read anything. A client with TLS gets none,
/// because it could not read it.
pub(crate) fn unread_refusal() -> Option<u16> {
    (!over_tls()).then_some(503)
}

/// Returns `http` or `https`.
pub(crate) fn scheme(address: SocketAddr) -> &'static str {
    if has_tls(address) { "https" } else { "http" }
}

/// Returns the URL of `path` for HTTP clients, which is also the origin of the server's own pages if `path` is empty.
pub(crate) fn http_url(address: SocketAddr, path: &str) -> String {
    format!("{}://{address}{path}", scheme(address))
}

/// Returns the URL of `path` for WebSocket clients.
pub(crate) fn ws_url(address: SocketAddr, path: &str) -> String {
    let scheme = if has_tls(address) { "wss" } else { "ws" };
    format!("{scheme}://{address}{path}")
}

/// Returns the settings of a [`Client`](standpipe::Client) that trusts the servers of these tests.
#[cfg(feature = "client")]
pub(crate) fn client_builder(url: impl Into<String>) -> standpipe::ClientBuilder {
    let client = standpipe::Client::builder(url);
    #[cfg(feature = "tls")]
    let client = client.tls(super::tls::client_config());
    client
}

/// Adds TLS to a TCP listener, if the tests run over TLS.
pub(crate) fn secured(listener: Listener) -> Listener {
    #[cfg(feature = "tls")]
    if over_tls() {
        return listener.tls(super::tls::server_config());
    }
    listener
}

/// Binds a listener, as [`Listener::bind`].
pub(crate) fn listen(address: impl ToSocketAddrs) -> Listener {
    secured(Listener::bind(address).expect("the address is free"))
}

/// Binds a server, as [`Server::bind`].
pub(crate) fn bind(address: impl ToSocketAddrs, config: Config) -> io::Result<Server> {
    Server::from_listeners(vec![secured(Listener::bind(address)?)], config)
}

/// Gives the binary its certificate, or the authority that it trusts as a client, if the tests run over TLS.
pub(crate) fn secure_command(command: &mut Command) {
    // The binary would warn of it.
    command.env_remove(SWITCH);
    if over_tls() {
        command.env("STANDPIPE_TLS_CERT", format!("{KEYS}/server.pem"));
        command.env("STANDPIPE_TLS_KEY", &*PRIVATE_KEY);
        command.env("STANDPIPE_CA", format!("{KEYS}/ca.pem"));
    }
}

const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls");

/// A copy of the server's key that only its owner can read. The binary warns of any other one, as that in the repository.
static PRIVATE_KEY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let key = fs::read(format!("{KEYS}/server.key")).expect("the file exists");
    let copy = directory.join(format!("server.key.{}", std::process::id()));
    fs::write(&copy, key).expect("the directory exists");
    fs::set_permissions(&copy, Permissions::from_mode(0o600)).expect("an own file");
    // Tests in processes of their own do the same.
    let place = directory.join("server.key");
    fs::rename(copy, &place).expect("the same directory");
    place
});

/// Returns the address in the first line that the binary prints. An address without TLS is plain from now on.
#[track_caller]
pub(crate) fn announced(line: &str) -> (SocketAddr, Plain) {
    let line = line.trim_end();
    let address = announced_address(line).unwrap_or_else(|| panic!("standpipe printed {line:?}"));
    let plain = match line.contains("https://") {
        true => Plain::default(),
        false => Plain::at(&[address]),
    };
    (address, plain)
}

/// Returns the address in a line that the binary prints for a listener.
pub(crate) fn announced_address(line: &str) -> Option<SocketAddr> {
    let url = line.strip_prefix("standpipe listening on ")?;
    let (_, rest) = url.split_once("://")?;
    rest.strip_suffix('/')?.parse().ok()
}
