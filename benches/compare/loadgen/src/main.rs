//! Load generator for WebSocket servers on loopback: one thread, epoll, pre-built frames.
//!
//! loadgen echo    ADDR PATH --conns N --size B --window W --secs S [--pid P] [--warmup S]
//! loadgen fanout  ADDR PATH --conns N --size B --window W --secs S [--pid P] [--stalled K]
//! loadgen jsonfan ADDR PATH --conns N --size B --window W --secs S [--pid P]
//! loadgen idle    ADDR PATH --conns N --pid P
//!
//! echo: each connection keeps W messages outstanding.
//!
//! fanout: connection 0 publishes and keeps W messages outstanding. Each connection, the publisher included, must
//! receive each message. K connections (the stalled ones) never read. The server may disconnect them, and the load
//! generator ignores them. If it disconnects any other connection, the run ends with exit code 3.
//!
//! jsonfan: N connections in standpipe's JSON mode subscribe to one topic, and one more publishes bursts of W commands,
//! each burst in one write. The next burst starts when all N connections have received all of the one before.
//!
//! With `--tls CA`, the connections use TLS. CA is a PEM file with the certificate of the authority that the server's
//! certificate must be from. The server's name is `localhost`.
//!
//! Rates and latencies count only the connections that read. Prints one line of key=value pairs.
mod socket;

use socket::{Security, Socket};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

struct Conn {
    sock: Socket,
    inbuf: Vec<u8>,
    head: usize,
    out: Vec<u8>,
    out_at: usize,
    sent: VecDeque<Instant>,
    want_write: bool,
    got: u64,
    stalled: bool,
}

struct Args(std::collections::HashMap<String, String>);
impl Args {
    fn num(&self, k: &str, d: f64) -> f64 {
        self.0.get(k).map_or(d, |v| v.parse().expect("a number"))
    }
}

/// The topic of the mode `jsonfan`.
const TOPIC: &str = "bench";

fn connect(addr: &str, security: &Security, path: &str, headers: &str) -> Socket {
    let mut tries = 0;
    let s = loop {
        match TcpStream::connect(addr) {
            Ok(s) => break s,
            Err(e) if tries < 50 => {
                tries += 1;
                let _ = e;
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => panic!("connect {addr}: {e}"),
        }
    };
    s.set_nodelay(true).unwrap();
    s.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut s = Socket::new(s, security);
    write!(s, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n").unwrap();
    let mut head = Vec::new();
    let mut b = [0u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if s.read(&mut b).expect("handshake read") == 0 {
            panic!("handshake closed: {}", String::from_utf8_lossy(&head));
        }
        head.push(b[0]);
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "no 101: {}",
        String::from_utf8_lossy(&head)
    );
    s
}

/// Connects in standpipe's JSON mode.
fn connect_json(addr: &str, security: &Security, path: &str) -> Socket {
    connect(
        addr,
        security,
        path,
        "Sec-WebSocket-Protocol: standpipe.v1\r\n",
    )
}

/// Subscribes to [`TOPIC`] and waits for the answer, so that every later message on `sock` belongs to the topic.
fn subscribe(sock: &mut Socket) {
    let command = format!(r#"{{"sub":"{TOPIC}","ref":1}}"#);
    sock.write_all(&frame(TEXT, command.as_bytes())).unwrap();
    sock.flush().unwrap();
    let mut head = [0u8; 2];
    sock.read_exact(&mut head).expect("the answer to a sub");
    assert!(head[0] == 0x80 | TEXT && head[1] < 126, "{head:?}");
    let mut answer = vec![0; usize::from(head[1])];
    sock.read_exact(&mut answer).expect("the answer to a sub");
    if !answer.starts_with(br#"{"ack":"#) {
        fail(&String::from_utf8_lossy(&answer));
    }
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12u8, 0x34, 0x56, 0x78];
    let mut f = vec![0x80 | opcode];
    match payload.len() {
        n if n < 126 => f.push(0x80 | n as u8),
        n if n < 65536 => {
            f.push(0x80 | 126);
            f.extend((n as u16).to_be_bytes());
        }
        n => {
            f.push(0x80 | 127);
            f.extend((n as u64).to_be_bytes());
        }
    }
    f.extend(mask);
    f.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i & 3]));
    f
}

/// Returns the offset after the last complete frame in `buf[at..]`, and the number of data messages before it.
///
/// Control frames are not counted. A Close ends the run, and so does a message that does not start with `prefix`.
fn parse(buf: &[u8], mut at: usize, prefix: &[u8]) -> (usize, u64) {
    let mut n = 0;
    loop {
        let b = &buf[at..];
        if b.len() < 2 {
            break;
        }
        let (hl, len) = match b[1] & 0x7f {
            126 if b.len() >= 4 => (4, u16::from_be_bytes([b[2], b[3]]) as usize),
            127 if b.len() >= 10 => (
                10,
                u64::from_be_bytes(b[2..10].try_into().unwrap()) as usize,
            ),
            126 | 127 => break,
            l => (2, l as usize),
        };
        if b.len() < hl + len {
            break;
        }
        let op = b[0] & 0xf;
        if op == 8 {
            fail(&format!("server closed: {:?}", &b[hl..hl + len]));
        }
        if op < 8 && b[0] & 0x80 != 0 {
            let payload = &b[hl..hl + len];
            if !payload.starts_with(prefix) {
                fail(&format!("unexpected: {}", String::from_utf8_lossy(payload)));
            }
            n += 1;
        }
        at += hl + len;
    }
    (at, n)
}

/// Ends the run, because its measurement is invalid. Prints the reason in place of the result line.
fn fail(why: &str) -> ! {
    println!("failed: {why}");
    std::process::exit(3);
}

/// Makes the receive buffer of a stalled connection as small as possible, so that its server-side socket refuses bytes
/// almost immediately. Otherwise the kernel would buffer some megabytes first.
fn shrink(sock: &Socket) {
    let bytes: libc::c_int = 4096;
    let size = std::mem::size_of_val(&bytes) as libc::socklen_t;
    unsafe {
        libc::setsockopt(
            sock.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const bytes).cast(),
            size,
        )
    };
}

fn cpu_secs(pid: i32) -> (f64, f64) {
    let s = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest: Vec<&str> = s
        .rsplit_once(')')
        .map_or("", |x| x.1)
        .split_whitespace()
        .collect();
    let hz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let g = |i: usize| {
        rest.get(i)
            .and_then(|v| v.parse::<f64>().ok())
            .unwrap_or(0.0)
            / hz
    };
    (g(11), g(12))
}

fn status_kib(pid: i32, key: &str) -> f64 {
    let s = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    s.lines()
        .find(|l| l.starts_with(key))
        .and_then(|l| l.split_whitespace().nth(1))
        .and_then(|v| v.parse().ok())
        .unwrap_or(0.0)
}

fn main() {
    let argv: Vec<String> = std::env::args().collect();
    let (mode, addr, path) = (argv[1].as_str(), argv[2].as_str(), argv[3].as_str());
    let mut kv = std::collections::HashMap::new();
    for p in argv[4..].chunks(2) {
        kv.insert(p[0].trim_start_matches("--").to_string(), p[1].clone());
    }
    let a = Args(kv);
    let n = a.num("conns", 1.0) as usize;
    let size = a.num("size", 64.0) as usize;
    let window = a.num("window", 1.0) as usize;
    let secs = a.num("secs", 5.0);
    let warm = a.num("warmup", 1.0);
    let pid = a.num("pid", 0.0) as i32;
    let stalled = a.num("stalled", 0.0) as usize;

    let security = Security::new(a.0.get("tls"));

    let (rss0, thr0) = (status_kib(pid, "VmRSS"), status_kib(pid, "Threads"));
    let t0 = Instant::now();
    let json = mode == "jsonfan";
    // In `jsonfan`, the last connection is the publisher, and it does not subscribe.
    let mut conns: Vec<Conn> = (0..n + usize::from(json))
        .map(|i| Conn {
            sock: match json {
                true => connect_json(addr, &security, path),
                false => connect(addr, &security, path, ""),
            },
            inbuf: Vec::new(),
            head: 0,
            out: Vec::new(),
            out_at: 0,
            sent: VecDeque::new(),
            want_write: false,
            got: 0,
            stalled: i > 0 && i <= stalled,
        })
        .collect();
    let connect_secs = t0.elapsed().as_secs_f64();

    if mode == "idle" {
        std::thread::sleep(Duration::from_secs(2));
        let (rss1, thr1) = (status_kib(pid, "VmRSS"), status_kib(pid, "Threads"));
        println!(
            "mode=idle conns={n} connect_per_s={:.0} rss_kib_per_conn={:.1} threads_per_conn={:.2} rss_mib={:.0}",
            n as f64 / connect_secs,
            (rss1 - rss0) / n as f64,
            (thr1 - thr0) / n as f64,
            rss1 / 1024.0
        );
        return;
    }

    if json {
        conns[..n].iter_mut().for_each(|c| subscribe(&mut c.sock));
    }
    let ep = unsafe { libc::epoll_create1(0) };
    for (i, c) in conns.iter_mut().enumerate() {
        c.sock.set_nonblocking();
        if c.stalled {
            shrink(&c.sock);
            continue;
        }
        let mut ev = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: i as u64,
        };
        unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, c.sock.as_raw_fd(), &mut ev) };
    }
    let text = "x".repeat(size);
    let (msg, prefix) = match json {
        true => (
            frame(
                TEXT,
                format!(r#"{{"pub":"{TOPIC}","data":"{text}"}}"#).as_bytes(),
            ),
            format!(r#"{{"topic":"{TOPIC}","id":"#),
        ),
        false => (frame(BINARY, text.as_bytes()), String::new()),
    };
    let fan = json || mode == "fanout";
    let publisher = if json { n } else { 0 };
    let live = n - stalled;
    let mut pubs: VecDeque<(Instant, usize)> = VecDeque::new(); // when each was published, and how many connections have received it
    let mut base: u64 = 0; // the number of messages that all connections have received
    let mut lat: Vec<u32> = Vec::new(); // microseconds
    let mut delivered: u64 = 0;

    fn flush(ep: i32, i: usize, c: &mut Conn) {
        let is_out = match c.sock.send(&c.out, &mut c.out_at) {
            Ok(is_out) => is_out,
            Err(e) => fail(&format!("write on {i}: {e}")),
        };
        let want = !is_out;
        if c.out_at == c.out.len() {
            c.out.clear();
            c.out_at = 0;
        }
        if want != c.want_write {
            c.want_write = want;
            let ev = libc::EPOLLIN | if want { libc::EPOLLOUT } else { 0 };
            let mut ev = libc::epoll_event {
                events: ev as u32,
                u64: i as u64,
            };
            unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_MOD, c.sock.as_raw_fd(), &mut ev) };
        }
    }

    let start = Instant::now();
    let mut measuring = false;
    let (mut m_start, mut cpu0) = (start, (0.0, 0.0));
    let senders = if fan { publisher..publisher + 1 } else { 0..n };
    for i in senders {
        let c = &mut conns[i];
        for _ in 0..window {
            c.out.extend_from_slice(&msg);
            let now = Instant::now();
            if fan {
                pubs.push_back((now, 0));
            } else {
                c.sent.push_back(now);
            }
        }
        flush(ep, i, c);
    }
    let mut evs: Vec<libc::epoll_event> = vec![unsafe { std::mem::zeroed() }; 1024];
    let mut rb = vec![0u8; 1 << 18];
    let mut last_progress = Instant::now();
    loop {
        let now = Instant::now();
        if !measuring && (now - start).as_secs_f64() >= warm {
            measuring = true;
            m_start = now;
            cpu0 = cpu_secs(pid);
            lat.clear();
            delivered = 0;
        }
        if measuring && (now - m_start).as_secs_f64() >= secs {
            break;
        }
        if (now - last_progress).as_secs_f64() > 15.0 {
            fail("no progress for 15 s");
        }
        let k = unsafe { libc::epoll_wait(ep, evs.as_mut_ptr(), evs.len() as i32, 100) };
        let mut publish = 0;
        for e in &evs[..k.max(0) as usize] {
            let i = e.u64 as usize;
            let mut fresh = 0;
            {
                let c = &mut conns[i];
                if e.events & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR) as u32 != 0 {
                    loop {
                        match c.sock.receive(&mut rb, &mut c.inbuf) {
                            Ok(0) => fail(&format!("eof on {i}")),
                            Ok(r) => {
                                if r < rb.len() {
                                    break;
                                }
                            }
                            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                            Err(e) => fail(&format!("read on {i}: {e}")),
                        }
                    }
                    let (at, got) = parse(&c.inbuf, c.head, prefix.as_bytes());
                    c.head = at;
                    if c.head == c.inbuf.len() {
                        c.inbuf.clear();
                        c.head = 0;
                    } else if c.head > 1 << 20 {
                        c.inbuf.drain(..c.head);
                        c.head = 0;
                    }
                    fresh = got;
                }
                if fresh > 0 {
                    delivered += fresh;
                    last_progress = Instant::now();
                    if fan {
                        for g in c.got..c.got + fresh {
                            let slot = &mut pubs[(g - base) as usize];
                            slot.1 += 1;
                            if measuring && (i % 16 == 0 || n < 64) {
                                lat.push(slot.0.elapsed().as_micros() as u32);
                            }
                        }
                        c.got += fresh;
                        while pubs.front().is_some_and(|p| p.1 == live) {
                            pubs.pop_front();
                            base += 1;
                            publish += 1;
                        }
                    } else {
                        for _ in 0..fresh {
                            let t = c.sent.pop_front().unwrap();
                            if measuring {
                                lat.push(t.elapsed().as_micros() as u32);
                            }
                            c.out.extend_from_slice(&msg);
                            c.sent.push_back(Instant::now());
                        }
                    }
                }
                flush(ep, i, c);
            }
        }
        if json {
            publish = if pubs.is_empty() { window } else { 0 };
        }
        if fan && publish > 0 {
            let c = &mut conns[publisher];
            for _ in 0..publish {
                c.out.extend_from_slice(&msg);
                pubs.push_back((Instant::now(), 0));
            }
            flush(ep, publisher, c);
        }
    }
    let el = m_start.elapsed().as_secs_f64();
    let cpu1 = cpu_secs(pid);
    lat.sort_unstable();
    let q = |p: f64| {
        lat.get(((lat.len() as f64 - 1.0) * p) as usize)
            .copied()
            .unwrap_or(0)
    };
    let cpu = (cpu1.0 - cpu0.0) + (cpu1.1 - cpu0.1);
    println!(
        "mode={mode} conns={n} size={size} window={window} stalled={stalled} msgs_per_s={:.0} mb_per_s={:.1} p50_us={} p99_us={} max_us={} server_cpu_us_per_msg={:.2} server_user_frac={:.2} server_cores={:.2} rss_mib={:.0}",
        delivered as f64 / el,
        delivered as f64 * size as f64 / el / 1e6,
        q(0.5),
        q(0.99),
        q(1.0),
        cpu * 1e6 / delivered.max(1) as f64,
        (cpu1.0 - cpu0.0) / cpu.max(1e-9),
        cpu / el,
        status_kib(pid, "VmRSS") / 1024.0
    );
}
