//! `examples/embed/tls.rs`: its certificate, a reload, and clients with certificates.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fs, process};

use standpipe::rustls::crypto::ring;
use standpipe::rustls::pki_types::pem::PemObject;
use standpipe::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use standpipe::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::support::{DEADLINE, Example};

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn key_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys/tls")
        .join(name)
}

fn chain(name: &str) -> Vec<CertificateDer<'static>> {
    let read = CertificateDer::pem_file_iter(key_file(name)).expect("the file can be read");
    read.collect::<Result<_, _>>()
        .expect("the file has certificates")
}

/// Connects with TLS, and with this client certificate. Returns the status of another answer than 101, or 0 if the TLS
/// handshake fails.
#[track_caller]
fn connect(address: SocketAddr, path: &str, own: Option<&str>) -> Result<WebSocket<Stream>, u16> {
    let mut roots = RootCertStore::empty();
    for root in chain("ca.pem") {
        roots
            .add(root)
            .expect("the authority of the tests is valid");
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default versions")
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let key = PrivateKeyDer::from_pem_file(key_file(&format!("{name}.key")));
            builder
                .with_client_auth_cert(
                    chain(&format!("{name}.pem")),
                    key.expect("the file has a key"),
                )
                .expect("certificate and key belong together")
        }
    };
    let name = ServerName::from(address.ip());
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let socket = TcpStream::connect(address).expect("the example listens");
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&socket, Some(DEADLINE)).expect("the deadline is not zero");
    }
    let stream = StreamOwned::new(session, socket);
    match tungstenite::client(format!("wss://{address}{path}"), stream) {
        Ok((client, _)) => Ok(client),
        Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(HandshakeError::Failure(Error::Io(_))) => Err(0),
        Err(error) => panic!("waited for an answer of the example: {error}"),
    }
}

#[track_caller]
fn text(client: &mut WebSocket<Stream>) -> String {
    match client.read().expect("waited for a text message") {
        Message::Text(text) => text.to_string(),
        other => panic!("waited for a text message, got {other:?}"),
    }
}

/// Returns the certificate that the server has shown.
#[track_caller]
fn certificate(client: &WebSocket<Stream>) -> CertificateDer<'static> {
    let shown = client.get_ref().conn.peer_certificates();
    let first = shown.and_then(<[_]>::first);
    first.expect("a server shows one").clone().into_owned()
}

/// A directory with the files of a server. Dropping it removes it.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let directory = env::temp_dir().join(format!("standpipe-{name}-{}", process::id()));
        fs::create_dir_all(&directory).expect("a directory for the test");
        Files(directory)
    }

    /// Puts a certificate of the tests and its key into the files.
    fn install(&self, name: &str) {
        for ending in ["pem", "key"] {
            let to = self.0.join(format!("tls.{ending}"));
            fs::copy(key_file(&format!("{name}.{ending}")), to).expect("a copy of a file");
        }
    }

    fn arguments(&self) -> [String; 2] {
        ["tls.pem", "tls.key"].map(|name| self.0.join(name).display().to_string())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn tls_reload_keeps_clients_and_changes_the_certificate() {
    let files = Files::new("example-tls");
    files.install("server");
    let [pem, key] = files.arguments();
    let mut example = Example::start("tls", &["127.0.0.1:0", &pem, &key]);
    let address = example.address();

    let mut first = connect(address, "/", None).expect("no client certificate is needed");
    assert_eq!(text(&mut first), "echo over TLS 1.3");
    assert_eq!(certificate(&first), chain("server.pem")[0]);

    fs::write(&pem, "no certificate").expect("the file can be written");
    example.type_line("reload");
    example.line("nothing has changed: ");
    let unchanged = connect(address, "/", None).expect("the old certificate is in force");
    assert_eq!(certificate(&unchanged), chain("server.pem")[0]);

    files.install("renewed");
    example.type_line("reload");
    example.line("reloaded: ");
    let second = connect(address, "/", None).expect("the new certificate is in force");
    assert_eq!(certificate(&second), chain("renewed.pem")[0]);
    first.send(Message::text("still here")).expect("it stayed");
    assert_eq!(text(&mut first), "still here");

    example.type_line("relaod");
    example.line("the only command is `reload`");
    drop((first, unchanged, second));
    assert!(example.report().ends_with(", lost 0"));
}

#[test]
fn tls_client_certificate_decides_about_the_path() {
    let [pem, key, authority] =
        ["server.pem", "server.key", "ca.pem"].map(|name| key_file(name).display().to_string());
    let mut example = Example::start("tls", &["127.0.0.1:0", &pem, &key, &authority]);
    let address = example.address();
    let status = |path: &str, own| connect(address, path, own).err();

    let own = Some("long_client");
    let mut client = connect(address, "/name-0007.standpipe.test", own).expect("its own name");
    assert_eq!(text(&mut client), "echo over TLS 1.3");
    assert_eq!(status("/name-9999.standpipe.test", own), Some(403));
    assert_eq!(status("/", own), Some(403));
    // This certificate has no name that a path could be.
    assert_eq!(
        status("/name-0007.standpipe.test", Some("client")),
        Some(403)
    );
    assert_eq!(
        status("/name-0007.standpipe.test", Some("other_client")),
        Some(0)
    );
    assert_eq!(status("/name-0007.standpipe.test", None), Some(0));
}
