//! How many messages a second one program publishes over HTTP: on one connection that is kept, one message at a time and
//! 20 in flight (pipelined), and with a connection for each message.
//!
//! Run it with `taskset -c 0 cargo bench --bench publish`, so that a figure shows the work of both sides. It starts the
//! server, and prints one line for each round and the medians of the ratios. Only ratios of one run are meaningful.
//! `cargo bench --bench publish -- PROGRAM` compares it with another build of the program too, which gets a connection for
//! each message, because an old one may close each connection.
//!
//! The same is measured with TLS. Every connection then has a full handshake, as that of each run of `standpipe pub` has.

#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Failure = Box<dyn Error>;

const ROUNDS: usize = 7;
/// How many requests are sent before their answers are read, when requests are pipelined. It divides the number of requests
/// that the server takes on one connection, which is 100.
const IN_FLIGHT: u32 = 20;
/// The time of one measurement.
const TIME: Duration = Duration::from_secs(1);
const MESSAGE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The certificate of the server, for `localhost`, its key, and the authority that signed it.
const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls/server.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls/server.key");
const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/tls/ca.pem");

fn main() -> Result<(), Failure> {
    // `cargo bench` adds `--bench`.
    let program = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let own = Server::start(env!("CARGO_BIN_EXE_standpipe"))?;
    let with_tls = Server::start_with_tls(env!("CARGO_BIN_EXE_standpipe"))?;
    let other = program.as_deref().map(Server::start).transpose()?;
    println!(
        "messages per second of {} B, one publisher, {ROUNDS} rounds",
        MESSAGE.len()
    );
    let (mut one, mut many) = (Vec::new(), Vec::new());
    let (mut one_to_other, mut many_to_other) = (Vec::new(), Vec::new());
    let mut tls_to_plain = [const { Vec::new() }; 3];
    for round in 1..=ROUNDS {
        let kept = own.publish_on_one_connection(1)?;
        let pipelined = own.publish_on_one_connection(IN_FLIGHT)?;
        let single = own.publish_on_many_connections()?;
        one.push(kept / single);
        many.push(pipelined / single);
        print!("round {round}: kept {kept:.0}, kept with {IN_FLIGHT} in flight {pipelined:.0}");
        print!(", one connection each {single:.0}");
        let tls = [
            with_tls.publish_on_one_connection(1)?,
            with_tls.publish_on_one_connection(IN_FLIGHT)?,
            with_tls.publish_on_many_connections()?,
        ];
        print!("; with TLS {:.0}, {:.0}, {:.0}", tls[0], tls[1], tls[2]);
        for (ratios, (tls, plain)) in tls_to_plain
            .iter_mut()
            .zip(tls.into_iter().zip([kept, pipelined, single]))
        {
            ratios.push(tls / plain);
        }
        if let Some(other) = &other {
            let before = other.publish_on_many_connections()?;
            one_to_other.push(kept / before);
            many_to_other.push(pipelined / before);
            print!(", the other program {before:.0}");
        }
        println!();
    }
    println!("median ratios to one connection each:");
    println!(
        "  kept {:.2}, with {IN_FLIGHT} in flight {:.2}",
        median(one),
        median(many)
    );
    let [kept, pipelined, single] = tls_to_plain.map(median);
    println!("median ratios of TLS to plain:");
    println!(
        "  kept {kept:.2}, with {IN_FLIGHT} in flight {pipelined:.2}, one connection each {single:.2}"
    );
    if other.is_some() {
        println!("median ratios to the other program:");
        let (one, many) = (median(one_to_other), median(many_to_other));
        println!("  kept {one:.2}, with {IN_FLIGHT} in flight {many:.2}");
    }
    Ok(())
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// The program as a process, which is killed when this is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
    /// How its clients connect, if it has TLS.
    tls: Option<Arc<ClientConfig>>,
}

/// A connection of a client, with TLS or without.
trait Socket: Read + Write {}
impl<T: Read + Write> Socket for T {}

impl Server {
    fn start(program: &str) -> Result<Server, Failure> {
        // An old program needs no key on loopback, and does not know the flag.
        Server::start_with(program, &["--admin-open"]).or_else(|_| Server::start_with(program, &[]))
    }

    fn start_with_tls(program: &str) -> Result<Server, Failure> {
        let flags = ["--admin-open", "--tls-cert", CERTIFICATE, "--tls-key", KEY];
        let mut server = Server::start_with(program, &flags)?;
        server.tls = Some(client_config()?);
        Ok(server)
    }

    fn start_with(program: &str, flags: &[&str]) -> Result<Server, Failure> {
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0"]).args(flags);
        command.env_clear().stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().ok_or("standard output is piped")?;
        let mut server = Server {
            process,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            tls: None,
        };
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next().ok_or("the program printed nothing")??;
        let address = line.split_once("://");
        let address = address.and_then(|(_, rest)| rest.strip_suffix('/'));
        server.address = address.ok_or("the program printed no address")?.parse()?;
        // The rest fits into the pipe. The program must not find it closed.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }

    fn connect(&self) -> Result<Box<dyn Socket>, Failure> {
        let tcp = TcpStream::connect(self.address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        let Some(config) = self.tls.clone() else {
            return Ok(Box::new(tcp));
        };
        let session = ClientConnection::new(config, ServerName::try_from("localhost")?)?;
        Ok(Box::new(StreamOwned::new(session, tcp)))
    }

    fn request(&self, connection: &str) -> Vec<u8> {
        format!(
            "POST /publish/t HTTP/1.1\r\nHost: {}\r\nContent-Type: text/plain\r\n{connection}Content-Length: {}\r\n\r\n{MESSAGE}",
            self.address,
            MESSAGE.len()
        )
        .into_bytes()
    }

    /// Returns the messages per second on one connection, with this many requests in flight. The server ends it after 100
    /// requests, and a new one takes its place.
    fn publish_on_one_connection(&self, in_flight: u32) -> Result<f64, Failure> {
        let requests = self.request("").repeat(in_flight as usize);
        let (started, mut count) = (Instant::now(), 0);
        let mut tcp = BufReader::new(self.connect()?);
        while started.elapsed() < TIME {
            tcp.get_mut().write_all(&requests)?;
            let mut is_kept = true;
            for _ in 0..in_flight {
                is_kept = read_answer(&mut tcp)?;
                count += 1;
            }
            if !is_kept {
                tcp = BufReader::new(self.connect()?);
            }
        }
        Ok(f64::from(count) / started.elapsed().as_secs_f64())
    }

    /// Returns the messages per second with a connection for each.
    fn publish_on_many_connections(&self) -> Result<f64, Failure> {
        let request = self.request("Connection: close\r\n");
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < TIME {
            let mut tcp = self.connect()?;
            tcp.write_all(&request)?;
            let mut answer = Vec::new();
            tcp.read_to_end(&mut answer)?;
            check(&String::from_utf8_lossy(&answer))?;
            count += 1;
        }
        Ok(f64::from(count) / started.elapsed().as_secs_f64())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn client_config() -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(AUTHORITY)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Reads an answer. Returns whether the connection is kept.
fn read_answer(tcp: &mut BufReader<Box<dyn Socket>>) -> Result<bool, Failure> {
    let (mut line, mut length, mut is_kept) = (String::new(), 0, true);
    tcp.read_line(&mut line)?;
    check(&line)?;
    loop {
        line.clear();
        tcp.read_line(&mut line)?;
        match line.split_once(": ") {
            Some(("Content-Length", value)) => length = value.trim_end().parse()?,
            Some(("Connection", value)) => is_kept = value.trim_end() != "close",
            Some(_) => {}
            None => break,
        }
    }
    tcp.read_exact(&mut vec![0; length])?;
    Ok(is_kept)
}

fn check(answer: &str) -> Result<(), Failure> {
    if answer.starts_with("HTTP/1.1 202 ") {
        Ok(())
    } else {
        Err(format!("not published: {answer}").into())
    }
}
