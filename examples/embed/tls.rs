//! Learn: a server with TLS and no proxy. Its clients connect to `wss://`. The handler sees the session, and which
//!        certificate the client has. A renewed certificate is used without a restart, and no client notices.
//! Run:   cargo run --example tls -- 127.0.0.1:9001 tests/keys/tls/server.pem tests/keys/tls/server.key
//!        In a second terminal:  cargo run -- client --ca tests/keys/tls/ca.pem wss://127.0.0.1:9001/
//! Watch: the first line that the client gets. Replace the two files, for example by `renewed.pem` and `renewed.key`, and
//!        type `reload`. The client stays, and the next one gets the new certificate.
//! Try next: break one of the files, and type `reload`. Then a fourth argument, `tests/keys/tls/ca.pem`: each client now
//!        needs a certificate that this authority has signed, and its path must be a name in it. In `tests/keys/tls`:
//!        curl --cacert ca.pem --cert long_client.pem --key long_client.key https://127.0.0.1:9001/name-0001.standpipe.test
//!        answers 426, because `curl` asks for no WebSocket. Another name is answered 403.
//!
//! ```text
//! client ──▶ acceptor ──▶ handshake thread: TLS, then the request ──▶ reader thread ──▶ handler
//!                            ▲
//! stdin ──▶ `reload` ──▶ TlsConfig: the certificate of the next client
//! ```
#![allow(clippy::print_stdout, reason = "an example prints what it does")]

use std::io::stdin;
use std::{env, error::Error, thread};

use standpipe::rustls::client::verify_server_name;
use standpipe::rustls::pki_types::{CertificateDer, ServerName};
use standpipe::rustls::server::ParsedCertificate;
use standpipe::{Config, Connection, Handler, Listener, Reply, Request, Server, TlsConfig};

struct Echo;

impl Handler for Echo {
    fn request(&self, request: &mut Request) -> Reply {
        let Some(tls) = request.tls() else {
            return Reply::text(400, "only over TLS\n");
        };
        // Without an authority for clients, no client shows a certificate.
        let Some(certificate) = tls.peer_certificates().first() else {
            return Reply::upgrade();
        };
        // The certificate is valid and its owner has the key, or there would be no request.
        match request.segments() {
            [name] if is_of(certificate, name) => Reply::upgrade().user(name.as_str()),
            _ => Reply::text(403, "the certificate has not this name\n"),
        }
    }

    fn run(&self, conn: &mut Connection) -> Result<(), Box<dyn Error + Send + Sync>> {
        let version = conn.request().tls().map(|tls| tls.version().to_string());
        let greeting = format!("echo over {}", version.unwrap_or_default());
        conn.send(greeting)?;
        while let Some(message) = conn.recv()? {
            conn.send(message)?;
        }
        Ok(())
    }
}

/// Returns whether the certificate has this name, as one of its alternative names.
fn is_of(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(certificate), Ok(name)) = (
        ParsedCertificate::try_from(certificate),
        ServerName::try_from(name),
    ) else {
        return false;
    };
    verify_server_name(&certificate, &name).is_ok()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, files @ ..] = &arguments[..] else {
        return Err("usage: tls ADDRESS CERTIFICATE KEY [AUTHORITY OF THE CLIENTS]".into());
    };
    let files = files.to_vec();
    let read = move || match &files[..] {
        [certificate, key] => Ok(TlsConfig::from_pem_files(certificate, key)?),
        [certificate, key, clients] => Ok(TlsConfig::from_pem_files_with_client_ca(
            certificate,
            key,
            clients,
        )?),
        _ => Err(Box::<dyn Error>::from("two or three files are needed")),
    };

    let tls = read()?;
    let listener = Listener::bind(address)?.tls(tls.clone());
    let server = Server::from_listeners(vec![listener], Config::default())?;
    let handle = server.handle();
    println!(
        "echo on wss://{}/",
        handle.local_addr().ok_or("no TCP address")?
    );
    ctrlc::set_handler(move || handle.shutdown())?;

    // A thread that waits for standard input cannot be woken, so it is not joined and ends with the process.
    thread::Builder::new().name("stdin".into()).spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            if line.trim() != "reload" {
                println!("the only command is `reload`");
                continue;
            }
            match read() {
                Ok(config) => {
                    tls.reload(config);
                    println!("reloaded: the next client gets the new certificate");
                }
                Err(error) => println!("nothing has changed: {error}"),
            }
        }
    })?;
    println!("{}", server.serve(Echo)?);
    Ok(())
}
