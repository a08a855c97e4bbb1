//! The resident memory of an idle client, compared with the minimum: two std threads that only wait.
//!
//! `cargo bench --bench idle_memory` prints both in KiB, as averages of 2,000.
#![allow(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::Builder;
use std::time::{Duration, Instant};
use std::{fs, process, thread};

const CLIENTS: usize = 2000;

/// The stack sizes of a client's reader and writer: `READER_STACK` and `WRITER_STACK` in `server/client/session.rs`.
/// Only the part of a stack that has been used is resident.
const STACKS: [usize; 2] = [256 << 10, 64 << 10];

fn main() -> Result<(), Box<dyn Error>> {
    let minimum = waiting_threads()?;
    let (client, threads, descriptors) = idle_clients()?;
    println!("two waiting std threads: {minimum:5.1} KiB");
    println!(
        "an idle client:          {client:5.1} KiB, {threads:.2} threads, {descriptors:.2} descriptors"
    );
    println!("(resident memory, average of {CLIENTS})");
    Ok(())
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

/// Returns the memory of an idle client in KiB, its threads and its descriptors.
fn idle_clients() -> Result<(f64, f64, f64), Box<dyn Error>> {
    let mut server = KillOnDrop(
        Command::new(env!("CARGO_BIN_EXE_standpipe"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let out = server.0.stdout.take().ok_or("no stdout")?;
    let mut lines = BufReader::new(out).lines();
    let first = lines.next().ok_or("the server printed nothing")??;
    let address = first
        .split("http://")
        .nth(1)
        .ok_or("no address")?
        .trim_end_matches('/');
    let pid = server.0.id();
    drop(connect(address)?);
    let before = (settled(pid)?, status(pid, "Threads:")?, descriptors(pid)?);
    let clients: Vec<TcpStream> = (0..CLIENTS)
        .map(|_| connect(address))
        .collect::<Result<_, _>>()?;
    let after = (settled(pid)?, status(pid, "Threads:")?, descriptors(pid)?);
    drop(clients);
    let each = |after: f64, before: f64| (after - before) / CLIENTS as f64;
    Ok((
        each(after.0, before.0),
        each(after.1, before.1),
        each(after.2, before.2),
    ))
}

fn connect(address: &str) -> Result<TcpStream, Box<dyn Error>> {
    let mut client = TcpStream::connect(address)?;
    write!(
        client,
        "GET /echo HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
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
