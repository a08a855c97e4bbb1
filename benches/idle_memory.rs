//! The resident memory of an idle client, without TLS and with it, compared with the minimum: two std threads that only
//! wait.
//!
//! `cargo bench --bench idle_memory` prints all three in KiB, as averages of 2,000. It fails if a client with TLS needs
//! more than 46 KiB.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::Builder;
use std::time::{Duration, Instant};
use std::{fmt, fs, process, thread};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

const CLIENTS: usize = 2000;

/// The most memory of an idle client with TLS, in KiB.
const MOST_WITH_TLS: f64 = 46.0;

/// The certificate of the server, for `localhost`, its key, and the authority that signed it.
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls/server.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls/server.key");
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls/ca.pem");

/// The stack sizes of a client's reader and writer: `READER_STACK` and `WRITER_STACK` in `server/client/session.rs`.
/// Only the part of a stack that has been used is resident.
const STACKS: [usize; 2] = [256 << 10, 64 << 10];

fn main() -> Result<(), Box<dyn Error>> {
    let minimum = waiting_threads()?;
    println!("two waiting std threads: {minimum:5.1} KiB");
    let plain = idle_clients(None)?;
    println!("an idle client:          {plain}");
    let with_tls = idle_clients(Some(client_config()?))?;
    println!("an idle client with TLS: {with_tls}");
    println!("(resident memory, average of {CLIENTS})");
    if with_tls.memory > MOST_WITH_TLS {
        return Err(format!("an idle client with TLS may have {MOST_WITH_TLS} KiB").into());
    }
    Ok(())
}

/// The resources of the server for each idle client.
struct Client {
    /// Resident memory, in KiB.
    memory: f64,
    threads: f64,
    descriptors: f64,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, threads, descriptors) = (self.memory, self.threads, self.descriptors);
        write!(
            f,
            "{memory:5.1} KiB, {threads:.2} threads, {descriptors:.2} descriptors"
        )
    }
}

/// Returns the memory of two threads that only wait, in KiB.
fn waiting_threads() -> Result<f64, Box<dyn Error>> {
    let end = Arc::new((Mutex::new(false), Condvar::new()));
    let before = status(process::id(), "VmRSS:")?;
    let mut waiting = Vec::new();
    for n in 0..CLIENTS {
        for stack in STACKS {
            let end = Arc::clone(&end);
            let wait = move || {
                let (ended, notify) = &*end;
                let ended = ended.lock().unwrap_or_else(|error| error.into_inner());
                drop(notify.wait_while(ended, |ended| !*ended));
            };
            waiting.push(
                Builder::new()
                    .name(format!("waiting-{n}"))
                    .stack_size(stack)
                    .spawn(wait)?,
            );
        }
    }
    let after = settled(process::id())?;
    *end.0.lock().unwrap_or_else(|error| error.into_inner()) = true;
    end.1.notify_all();
    for thread in waiting {
        thread.join().map_err(|_| "a waiting thread panicked")?;
    }
    Ok((after - before) / CLIENTS as f64)
}

/// Kills the process when it is dropped.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures the clients of a server. With `tls`, server and clients use TLS.
fn idle_clients(tls: Option<Arc<ClientConfig>>) -> Result<Client, Box<dyn Error>> {
    let flags: &[&str] = match tls {
        Some(_) => &["--tls-cert", CERTIFICATE, "--tls-key", KEY],
        None => &[],
    };
    let mut server = KillOnDrop(
        Command::new(env!("CARGO_BIN_EXE_standpipe"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let out = server.0.stdout.take().ok_or("no stdout")?;
    let mut lines = BufReader::new(out).lines();
    let first = lines.next().ok_or("the server printed nothing")??;
    let address = first
        .split("://")
        .nth(1)
        .ok_or("no address")?
        .trim_end_matches('/');
    let pid = server.0.id();
    drop(connect(address, tls.clone())?);
    let before = (settled(pid)?, status(pid, "Threads:")?, descriptors(pid)?);
    let clients: Vec<Box<dyn Socket>> = (0..CLIENTS)
        .map(|_| connect(address, tls.clone()))
        .collect::<Result<_, _>>()?;
    let after = (settled(pid)?, status(pid, "Threads:")?, descriptors(pid)?);
    drop(clients);
    let each = |after: f64, before: f64| (after - before) / CLIENTS as f64;
    Ok(Client {
        memory: each(after.0, before.0),
        threads: each(after.1, before.1),
        descriptors: each(after.2, before.2),
    })
}

fn client_config() -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(AUTHORITY)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

/// The socket of a client, with TLS or without.
trait Socket: Read + Write {}
impl<T: Read + Write> Socket for T {}

fn connect(
    address: &str,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Box<dyn Socket>, Box<dyn Error>> {
    let tcp = TcpStream::connect(address)?;
    let mut client: Box<dyn Socket> = match tls {
        Some(config) => {
            let session = ClientConnection::new(config, ServerName::try_from("localhost")?)?;
            Box::new(StreamOwned::new(session, tcp))
        }
        None => Box::new(tcp),
    };
    let request = format!(
        "GET /echo HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    client.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 101") {
        Ok(client)
    } else {
        Err(String::from_utf8_lossy(&head).into())
    }
}

/// Returns `VmRSS` once it no longer changes.
fn settled(pid: u32) -> Result<f64, Box<dyn Error>> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut last = status(pid, "VmRSS:")?;
    while Instant::now() < deadline {
        // There is no event for the moment at which the kernel has started the last of the threads.
        thread::sleep(Duration::from_millis(500));
        let now = status(pid, "VmRSS:")?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

fn status(pid: u32, key: &str) -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .ok_or("the status has no such line")?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}

fn descriptors(pid: u32) -> Result<f64, Box<dyn Error>> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64)
}
