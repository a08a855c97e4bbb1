//! What a handler can answer: `?`, redirects, cookies, static bodies and streams. And what the log says about it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use log::LevelFilter;
use standpipe::http::HeaderValue;
use standpipe::{Config, Connection, Handler, Reply, Request};

use crate::support::{
    Answer, Failure, LogLines, TestServer, get, http, in_own_process, let_time_pass, post, until,
};

/// The length of `/sparse`: 100 MB.
const SPARSE: u64 = 100_000_000;

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A site whose routing is written with `?`.
#[derive(Default)]
struct Site {
    /// The file of `/sparse` and `/rest`.
    file: PathBuf,
    /// The bytes that the reader of `/counted` has returned.
    read: Arc<AtomicUsize>,
}

impl Site {
    fn route(&self, request: &mut Request) -> Result<Reply, Reply> {
        let reply = match request.path() {
            "/ws" => Reply::upgrade(),
            "/motd" => Reply::text(200, fs::read_to_string("/nonexistent/motd")?),
            "/number" => {
                let number: Option<u8> = request.query_as("n")?;
                let number = number.ok_or_else(|| Reply::status(404))?;
                Reply::text(200, format!("{number}\n"))
            }
            "/sum" => {
                let body = request.read_body(8)?;
                let text = String::from_utf8(body).map_err(Reply::bad_request)?;
                Reply::text(200, text)
            }
            "/missing" => Reply::html("<p>missing").with_status(404),
            "/old" => Reply::redirect(308, "/new?a=b"),
            "/next" => Reply::redirect(303, request.query("to").unwrap_or_default()),
            "/sparse" => Reply::file(BYTES, File::open(&self.file)?)?,
            "/rest" => {
                let mut file = File::open(&self.file)?;
                file.seek(SeekFrom::Start(SPARSE - 5))?;
                Reply::file(BYTES, file)?
            }
            "/directory" => Reply::file(BYTES, File::open("/")?)?,
            "/counted" => {
                let reader = Counted(Arc::clone(&self.read));
                Reply::stream(200, BYTES, reader, 1_000_000)
            }
            // Each write of the server has 64 KiB, so its last one would have nothing.
            "/short" => Reply::stream(200, BYTES, io::repeat(b's').take(65_536), 65_543),
            "/fails" => Reply::stream(200, BYTES, b"abc".chain(Fails), 1_000_000),
            "/panics" => Reply::stream(200, BYTES, b"abc".chain(Panics), 1_000_000),
            "/empty" => Reply::stream(200, BYTES, io::empty(), 0),
            "/unchanged" => Reply::stream(304, BYTES, Panics, 7),
            _ => return Err(Reply::status(404)),
        };
        Ok(reply)
    }
}

impl Handler for Site {
    fn request(&self, request: &mut Request) -> Reply {
        Reply::from_try(|| self.route(request))
    }

    fn opening(&self, conn: &Connection) -> Result<(), Reply> {
        if conn.request().query("refuse").is_some() {
            File::open("/nonexistent/opening")?;
        }
        Ok(())
    }

    fn run(&self, _: &mut Connection) -> Result<(), Failure> {
        Ok(())
    }
}

/// An endless reader that returns seven bytes at a time, and counts them.
struct Counted(Arc<AtomicUsize>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(7);
        buffer[..count].fill(b'c');
        self.0.fetch_add(count, Ordering::SeqCst);
        Ok(count)
    }
}

struct Fails;

impl Read for Fails {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk\nhas failed"))
    }
}

/// A reader that panics when it is read, and when it is dropped.
struct Panics;

impl Read for Panics {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("a reader that panics");
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("a drop that panics");
    }
}

fn site() -> TestServer {
    TestServer::start(Config::default(), Site::default())
}

/// A site with a sparse file, whose name is removed again when the server has opened it once.
fn site_with_file(name: &str, config: Config) -> (TestServer, PathBuf) {
    let path = std::env::temp_dir().join(format!("standpipe-{name}-{}", std::process::id()));
    let file = File::create(&path).expect("the directory for temporary files is writable");
    file.set_len(SPARSE).expect("a sparse file needs no room");
    let site = Site {
        file: path.clone(),
        ..Site::default()
    };
    (TestServer::start(config, site), path)
}

fn head(server: &TestServer, path: &str) -> Answer {
    let host = server.addr();
    http(
        host,
        format!("HEAD {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    )
}

#[test]
fn question_mark_answers_with_the_right_status() {
    let server = site();
    for (path, status, body) in [
        ("/number?n=7", 200, "7\n"),
        ("/number", 404, "Not Found\n"),
        (
            "/number?n=x",
            400,
            "the parameter n: invalid digit found in string\n",
        ),
        (
            "/number?n=256",
            400,
            "the parameter n: number too large to fit in target type\n",
        ),
        ("/motd", 500, "Internal Server Error\n"),
        ("/nothing", 404, "Not Found\n"),
        ("/missing", 404, "<p>missing"),
    ] {
        let answer = server.get(path);
        assert_eq!((answer.status, &*answer.body), (status, body), "{path}");
    }
    for (body, status) in [("12345678", 200), ("123456789", 413), ("\u{e4}", 200)] {
        assert_eq!(
            post(server.addr(), "/sum", "", body).status,
            status,
            "{body}"
        );
    }
    assert_eq!(post(server.addr(), "/sum", "", [0xff]).status, 400);
    assert_eq!(server.get("/sum").status, 411);
    let missing = server.get("/missing");
    let content_type = missing.header("Content-Type");
    assert_eq!(content_type, Some("text/html; charset=utf-8"));
    let refused = server.client().path("/ws?refuse").request().1;
    assert_eq!(refused.status, 500, "an error in `opening`");
}

#[test]
fn redirect_cannot_be_split_into_two_answers() {
    let server = site();
    let moved = server.get("/old");
    assert_eq!(
        (moved.status, moved.header("Location")),
        (308, Some("/new?a=b"))
    );
    for (to, status, location) in [
        ("/login", 303, Some("/login")),
        ("/a%0d%0aSet-Cookie:%20session=forged", 500, None),
        ("/a%0a%0aHTTP/1.1 200 OK", 400, None),
        ("/a%0a%0aHTTP/1.1+200+OK", 500, None),
        ("/%5cevil.example", 500, None),
        ("", 500, None),
    ] {
        let answer = server.get(&format!("/next?to={to}"));
        assert_eq!(
            (answer.status, answer.header("Location")),
            (status, location),
            "{to}"
        );
        assert_eq!(answer.header("Set-Cookie"), None, "{to}");
    }
}

#[test]
fn streamed_file_arrives_whole_and_its_rest_too() {
    let (server, path) = site_with_file("rest", Config::default());
    let mut client = server.client().open();
    let request = "GET /rest HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // The connection is kept after a stream.
    for _ in 0..2 {
        client.bytes(request);
        let answer = client.read_answer();
        assert_eq!((answer.status, &*answer.body), (200, "\0\0\0\0\0"));
        assert_eq!(answer.header("Content-Length"), Some("5"));
        assert_eq!(
            answer.header("Content-Type"),
            Some("application/octet-stream")
        );
    }
    client.bytes("HEAD /sparse HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let announced = client.read_head();
    assert_eq!(announced.header("Content-Length"), Some("100000000"));
    client.bytes("GET /sparse HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_eq!(
        client.read_head().header("Content-Length"),
        Some("100000000")
    );
    let mut received = 0;
    while received < SPARSE {
        received += client.read_available() as u64;
    }
    assert_eq!((received, client.next_byte()), (SPARSE, None));
    let directory = server.get("/directory");
    assert_eq!(directory.status, 500, "a directory has no length");
    fs::remove_file(path).expect("the file is still there");
}

#[test]
fn head_of_a_stream_reads_nothing() {
    let site = Site::default();
    let read = Arc::clone(&site.read);
    let server = TestServer::start(Config::default(), site);
    let answer = head(&server, "/counted");
    assert_eq!(answer.header("Content-Length"), Some("1000000"));
    assert_eq!((&*answer.body, read.load(Ordering::SeqCst)), ("", 0));
    assert_eq!(server.get("/counted").body.len(), 1_000_000);
    assert_eq!(
        read.load(Ordering::SeqCst),
        1_000_000,
        "no byte beyond the length"
    );
    let empty = server.get("/empty");
    assert_eq!(
        (empty.header("Content-Length"), &*empty.body),
        (Some("0"), "")
    );
    let unchanged = server.get("/unchanged");
    assert_eq!((unchanged.status, &*unchanged.body), (304, ""));
}

/// The memory of this process in bytes, without the pages of its program file, which are loaded as they are needed.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<usize>().ok())
        .expect("a number of KiB")
        << 10
}

#[cfg(target_os = "linux")]
#[test]
fn slow_reader_of_a_large_file_costs_no_memory() {
    let name = "replies::slow_reader_of_a_large_file_costs_no_memory";
    in_own_process(name, || {
        let short = Duration::from_millis(500);
        let config = Config::default()
            .write_timeout(short)
            .sndbuf(Some(16 << 10));
        let (server, path) = site_with_file("slow", config);
        let mut clients: Vec<_> = (0..10)
            .map(|_| server.client().rcvbuf(64 << 10).open())
            .collect();
        let before = resident();
        let began = Instant::now();
        for client in &mut clients {
            client.bytes("GET /sparse HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(client.read_head().status, 200);
        }
        let mut received = vec![0; clients.len()];
        while began.elapsed() < short * 3 {
            for (client, received) in clients.iter_mut().zip(&mut received) {
                *received += client.read_available();
            }
            // The pace is what the test is about: 64 KiB are read within each timeout, and no more.
            let_time_pass(Duration::from_millis(50));
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 4 << 20, "{grown} bytes for 10 streams of 100 MB");
        assert!(received.iter().all(|count| *count > 0), "{received:?}");
        assert_eq!(server.disconnects("write_timeout"), 0);
        // A client that stops reading is reset by the write rule.
        until("all clients are reset", || {
            server.disconnects("write_timeout") == 10
        });
        fs::remove_file(path).expect("the file is still there");
    });
}

#[test]
fn body_that_is_too_short_ends_the_connection() {
    let name = "replies::body_that_is_too_short_ends_the_connection";
    in_own_process(name, || {
        // At this level nothing is throttled.
        let lines = LogLines::keep(LevelFilter::Debug);
        let server = site();
        for (path, announced, log) in [
            (
                "/short",
                "65543",
                "7 bytes of its body are missing: unexpected end of file",
            ),
            (
                "/fails",
                "1000000",
                "999997 bytes of its body are missing: the disk\\nhas failed",
            ),
            ("/panics", "1000000", "the reader of its body panicked"),
        ] {
            let mut client = server.client().open();
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client.bytes([&*request, &request].concat());
            let head = client.read_head();
            assert_eq!(head.header("Content-Length"), Some(announced), "{path}");
            let mut body = Vec::new();
            while let Some(byte) = client.next_byte() {
                body.push(byte);
            }
            let received = match path {
                "/short" => vec![b's'; 65_536],
                "/fails" => b"abc".to_vec(),
                _ => Vec::new(),
            };
            assert!(body == received, "{path}: nothing follows, and no answer");
            let line = format!("GET {path}: the answer ended early: {log}");
            until("the log has a line", || {
                lines.get().iter().any(|logged| logged.contains(&line))
            });
        }
        assert_eq!(server.get("/empty").status, 200);
    });
}

#[test]
fn refused_requests_are_no_warnings() {
    let name = "replies::refused_requests_are_no_warnings";
    in_own_process(name, || {
        let lines = LogLines::keep(LevelFilter::Warn);
        let server = site();
        let address = server.addr();
        assert_eq!(http(address, "garbage\r\n\r\n").status, 400);
        let rebinding = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        assert_eq!(http(address, rebinding).status, 421);
        let foreign = "Origin: https://elsewhere.example\r\n";
        assert_eq!(post(address, "/sum", foreign, "1").status, 403);
        assert_eq!(get(address, "/ws", "").status, 426);
        assert_eq!(server.get("/nothing").status, 404);
        assert_eq!(server.get("/number?n=x").status, 400);
        assert_eq!(lines.get(), [""; 0]);
        // At the next level, a rule's refusal has a line. What the handler itself answers has none.
        log::set_max_level(LevelFilter::Info);
        let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
        assert_eq!(http(address, connect).status, 501);
        assert_eq!(server.get("/nothing").status, 404);
        until("the refusal is logged", || !lines.get().is_empty());
        log::set_max_level(LevelFilter::Warn);
        // A failure of the handler is a warning.
        assert_eq!(server.get("/motd").status, 500);
        until("the failure is logged", || lines.get().len() >= 2);
        let lines = lines.get();
        assert!(
            lines[0].contains("unreadable request: 501, CONNECT"),
            "{lines:?}"
        );
        let failed = "GET /motd: 500, the handler failed: No such file or directory";
        assert!(lines[1].contains(failed), "{lines:?}");
        assert_eq!(lines.len(), 2, "{lines:?}");
    });
}
