//! The binary as people run it: what it prints, what it serves, how it ends, and which resources a client uses.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use standpipe::Message;

use crate::support::{
    Answer, Connect, DEADLINE, Plain, Process, TestClient, announced, command_with_signals, get,
    http, http_url, secure_command, until, within, ws_url,
};

/// Returns the command `standpipe` with an empty environment, so that no variable affects a test.
pub(crate) fn standpipe(flags: &[&str]) -> Command {
    let mut command = command_with_signals(env!("CARGO_BIN_EXE_standpipe"));
    command.args(flags).env_clear().stdin(Stdio::null());
    secure_command(&mut command);
    command
}

/// Returns the flag that opens the admin paths to the tests, unless these flags contradict it or set who has access.
pub(crate) fn open_admin(flags: &[&str]) -> &'static [&'static str] {
    const OTHERS: [&str; 4] = [
        "--listen",
        "--admin-listen",
        "--admin-open",
        "--publish-key-file",
    ];
    if flags.iter().any(|flag| OTHERS.contains(flag)) {
        &[]
    } else {
        &["--admin-open"]
    }
}

/// The binary, serving on a free port. It is killed when this is dropped.
pub(crate) struct Binary {
    child: Child,
    pub(crate) address: SocketAddr,
    plain: Plain,
    /// The lines that it printed before it began to serve.
    pub(crate) announced: Vec<String>,
    printed: Receiver<String>,
    log: Option<JoinHandle<String>>,
}

impl Binary {
    #[track_caller]
    pub(crate) fn start(flags: &[&str]) -> Binary {
        let listen = ["--listen", "127.0.0.1:0"];
        Binary::of(standpipe(&[&listen, open_admin(flags), flags].concat()))
    }

    /// Starts the binary without `--admin-open`, with `home` as the user's home directory.
    #[track_caller]
    pub(crate) fn start_in(home: &Path, flags: &[&str]) -> Binary {
        let mut command = standpipe(&[&["--listen", "127.0.0.1:0"], flags].concat());
        command.env("HOME", home);
        Binary::of(command)
    }

    #[track_caller]
    pub(crate) fn of(mut command: Command) -> Binary {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (print, printed) = unbounded();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = print.send(line);
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = Vec::new();
            let _ = stderr.read_to_end(&mut log);
            String::from_utf8_lossy(&log).into_owned()
        });
        // Made before the first wait, because its end kills the process.
        let mut binary = Binary {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            plain: Plain::default(),
            announced: Vec::new(),
            printed,
            log: Some(log),
        };
        let is_last =
            |line: &String| line.starts_with("dashboard: ") || line.starts_with("publish: ");
        while !binary.announced.iter().any(is_last) {
            let line = binary.printed.recv_timeout(DEADLINE);
            let line = line.expect("the binary prints where it listens before the deadline");
            binary.announced.push(line);
        }
        (binary.address, binary.plain) = announced(&binary.announced[0]);
        binary
    }

    #[track_caller]
    pub(crate) fn connect(&self, path: &str) -> TestClient {
        TestClient::connect(self.address, path)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.address, path, "")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the process of the binary.
    pub(crate) fn process(&self) -> Process {
        Process::of(self.child.id())
    }

    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success(), "{name} could not be sent");
    }

    /// Waits until the binary has ended. Returns its exit status, its last line of output and its log.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, Option<String>, String) {
        let mut ended = None;
        until("standpipe has ended", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        let log = self.log.take().unwrap();
        let log = within(20, "the end of the log", || log.join().unwrap());
        // This iterator ends with the pipe.
        let last = self.printed.iter().last();
        (ended.unwrap(), last, log)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // The binary may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary to its end. Returns its exit code and its standard error.
#[track_caller]
pub(crate) fn run(flags: &[&str]) -> (Option<i32>, String) {
    let mut command = standpipe(flags);
    let what = format!("standpipe {} to end", flags.join(" "));
    let output = within(20, &what, move || command.output().unwrap());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), stderr)
}

#[test]
fn inherited_socket_is_served() {
    // What systemd does: the socket is descriptor 3, and LISTEN_PID is the process that inherits it.
    const PASS_ON: &str = "import os, socket, sys\n\
        s = socket.create_server(('127.0.0.1', 0))\n\
        os.dup2(s.fileno(), 3)\n\
        os.set_inheritable(3, True)\n\
        env = {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}\n\
        env.update((name, os.environ[name]) for name in os.environ if name.startswith('STANDPIPE_TLS_'))\n\
        os.execve(sys.argv[1], ['standpipe', '--listen', 'fd:3'], env)";
    let mut command = Command::new("python3");
    command.args(["-c", PASS_ON, env!("CARGO_BIN_EXE_standpipe")]);
    secure_command(&mut command);
    let binary = Binary::of(command);
    let mut client = binary.connect("/echo");
    client.text("passed on");
    client.expect_text("passed on");
    client.leave();
    let (code, log) = run(&["--listen", "fd:3"]);
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("cannot listen on fd:3"), "{log}");
}

#[test]
fn start_prints_the_urls() {
    let binary = Binary::start(&[]);
    let address = binary.address;
    assert_ne!(address.port(), 0);
    assert!(binary.announced[1].contains(&ws_url(address, "/echo")));
    assert!(binary.announced[2].contains(&ws_url(address, "/ws/TOPIC")));
    assert_eq!(
        binary.announced[3],
        format!("dashboard: {}", http_url(address, "/dashboard"))
    );
}

#[test]
fn page_and_health_are_served() {
    let binary = Binary::start(&[]);
    let page = binary.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("Content-Type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.body.contains("/echo") && page.body.contains("/ws/"));
    assert_eq!(page.header("Connection"), Some("close"));
    assert_eq!(binary.get("/healthz").status, 200);
    assert_eq!(binary.get("/readyz").status, 200);
    assert_eq!(binary.get("/nothing").status, 404);
    assert_eq!(binary.get("/echo").status, 426);
    assert_eq!(binary.get("/ws/topic").status, 426);
    let post = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
        binary.address
    );
    let post = http(binary.address, post);
    assert_eq!(
        (post.status, post.header("Allow")),
        (405, Some("GET, HEAD"))
    );
    // JSON mode is a subprotocol. A client that does not offer it gets an error.
    let (_, answer) = Connect::to(binary.address).path("/ws").request();
    assert_eq!(answer.status, 400);
}

#[test]
fn echo_is_served_unless_disabled() {
    let binary = Binary::start(&[]);
    let mut client = binary.connect("/echo");
    client.text("hello");
    client.expect_text("hello");
    client.binary([0, 255]);
    assert_eq!(client.read_message(), Message::binary(vec![0, 255]));
    client.leave();

    let binary = Binary::start(&["--no-echo"]);
    let (_, answer) = Connect::to(binary.address).path("/echo").request();
    assert_eq!(answer.status, 404);
    binary.connect("/ws/topic").leave();
}

#[test]
fn page_is_served_unless_disabled() {
    let binary = Binary::start(&[]);
    assert!(binary.get("/").body.contains("<h1>standpipe</h1>"));

    let binary = Binary::start(&["--no-page"]);
    assert_eq!(binary.get("/").status, 404);
    // The dashboard has no link to it.
    assert_eq!(binary.get("/dashboard").status, 200);
    let mut watcher = binary.connect("/dashboard/live");
    let snapshot = watcher.read_message();
    let snapshot = snapshot.to_text().expect("a snapshot");
    assert!(snapshot.contains(r#""has_page":false"#), "{snapshot}");
    binary.connect("/echo").leave();
}

/// Connects a client and waits until its own message comes back, so that it is a member.
#[track_caller]
fn member(binary: &Binary, path: &str) -> TestClient {
    let mut client = binary.connect(path);
    client.text("joined");
    client.expect_text("joined");
    client
}

#[test]
fn topic_messages_reach_only_its_members() {
    let binary = Binary::start(&[]);
    let mut elsewhere = member(&binary, "/ws/other");
    let mut first = member(&binary, "/ws/a%20topic");
    let mut second = member(&binary, "/ws/a%20topic");
    first.expect_text("joined");
    second.text("to all");
    second.binary([1, 2, 3]);
    for client in [&mut first, &mut second] {
        client.expect_text("to all");
        assert_eq!(client.read_message(), Message::binary(vec![1, 2, 3]));
    }
    first.text("and back");
    second.expect_text("and back");
    first.leave();
    second.text("only member");
    second.expect_text("only member");
    elsewhere.text("undisturbed");
    elsewhere.expect_text("undisturbed");
    let (_, answer) = Connect::to(binary.address)
        .path(&format!("/ws/{}", "t".repeat(201)))
        .request();
    assert_eq!(answer.status, 400);
}

#[test]
fn echo_false_excludes_the_senders_own_messages() {
    let binary = Binary::start(&[]);
    let mut silent = binary.connect("/ws/t?echo=false");
    let mut other = member(&binary, "/ws/t");
    // The client becomes a member on its own thread, which no message announces.
    let mut received = 0;
    until("the silent client is a member", || {
        other.text("are you there?");
        other.expect_text("are you there?");
        while silent.next_within(Duration::from_millis(20)).is_some() {
            received += 1;
        }
        received > 0
    });
    silent.text("mine");
    other.expect_text("mine");
    other.text("theirs");
    silent.expect_text("theirs");
}

#[test]
fn wrong_flag_or_value_shows_the_correct_form() {
    for (flags, right) in [
        (&["--queue-byte", "1"][..], "--queue-bytes"),
        (&["--write-timeout", "30"], "30s"),
        (&["--max-message", "64K"], "64KiB"),
        (&["--listen", "9000"], "127.0.0.1:9000"),
        (&["serve", "--queue", "0"], "at least 1"),
    ] {
        let (code, stderr) = run(flags);
        assert_eq!(code, Some(2), "{flags:?}: {stderr}");
        assert!(stderr.contains(right), "{flags:?}: {stderr}");
    }
}

#[test]
fn address_in_use_exits_with_1_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, stderr) = run(&["--listen", &address]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&address), "{stderr}");
}

#[test]
fn sigterm_and_sigint_close_with_1001_and_exit_0() {
    for signal in ["TERM", "INT"] {
        let binary = Binary::start(&[]);
        let mut clients = [binary.connect("/echo"), member(&binary, "/ws/t")];
        binary.signal(signal);
        for client in &mut clients {
            client.expect_close(1001);
            client.close(1001, "");
            client.expect_eof();
        }
        let (status, last, log) = binary.end();
        assert_eq!(status.code(), Some(0), "{signal}: {log}");
        assert_eq!(last.as_deref(), Some("drained 2, lost 0"), "{signal}");
    }
}

#[test]
fn unresponsive_client_is_lost_and_exit_is_0() {
    let binary = Binary::start(&["--shutdown-timeout", "200ms"]);
    let mut silent = binary.connect("/echo");
    binary.signal("TERM");
    silent.expect_close(1001);
    let (status, last, log) = binary.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(last.as_deref(), Some("drained 0, lost 1"));
}

#[test]
fn second_signal_exits_immediately_with_130() {
    let binary = Binary::start(&["--shutdown-timeout", "10m", "--close-timeout", "10m"]);
    let mut hangs = binary.connect("/echo");
    binary.signal("INT");
    // The server is closing its clients, and this client does not answer.
    hangs.expect_close(1001);
    binary.signal("INT");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(130), "{log}");
}

#[test]
fn client_uses_one_descriptor_and_two_named_threads() {
    let binary = Binary::start(&[]);
    let process = binary.process();
    let descriptors = process.descriptors();
    let server_threads = [
        "ctrl-c",
        "sp-dash",
        "sp-log",
        "sp-signals",
        "sp-watchdog",
        "standpipe",
    ];
    until("the server's own threads have their names", || {
        process.threads() == server_threads
    });
    let threads = server_threads.len();

    let mut clients: Vec<TestClient> = (0..5).map(|_| binary.connect("/echo")).collect();
    let mut names: Vec<_> = (1..=5)
        .flat_map(|n| [format!("sp-{n}-read"), format!("sp-{n}-write")])
        .collect();
    names.sort();
    // A thread sets its name when it first runs.
    until("all threads have their names", || {
        process.client_threads() == names
    });
    assert_eq!(
        process.threads().len(),
        threads + 10,
        "{:?}",
        process.threads()
    );
    assert_eq!(process.descriptors(), descriptors + 5);

    // Clients end in four ways: closing handshake, violation, reset, and inside a frame.
    clients.pop().unwrap().leave();
    let mut violator = clients.pop().unwrap();
    violator.bytes([0xff, 0xff]);
    violator.expect_close(1002);
    drop(violator);
    clients.pop().unwrap().reset();
    clients.pop().unwrap().bytes([0x81]);
    let last = clients.pop().unwrap();
    until("the descriptors of four clients are closed", || {
        process.descriptors() == descriptors + 1
    });
    until("the threads of four clients have ended", || {
        process.client_threads() == ["sp-1-read", "sp-1-write"]
    });
    last.leave();
    until("all client threads have ended", || {
        process.client_threads().is_empty()
    });
    assert_eq!(process.descriptors(), descriptors);
    assert_eq!(process.threads().len(), threads);
    // Plain requests leave no descriptor and no thread either.
    for _ in 0..20 {
        assert_eq!(binary.get("/healthz").status, 200);
    }
    until("the threads of the requests have ended", || {
        process.client_threads().is_empty()
    });
    assert_eq!(process.descriptors(), descriptors);
}

#[test]
fn binary_listens_on_tcp_and_unix_sockets_together() {
    let path = std::env::temp_dir().join(format!("standpipe-it-{}-bin.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let unix = format!("unix:{}", path.display());
    let binary = Binary::start(&["--listen", &format!("{unix},mode=0600")]);
    let line = format!("standpipe listening on {unix}");
    assert!(binary.announced.contains(&line), "{:?}", binary.announced);
    let permissions = std::fs::metadata(&path).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o7777, 0o600);
    let mut unix_client = Connect::to_unix(&path).path("/ws/t").connect();
    unix_client.text("joined");
    unix_client.expect_text("joined");
    let tcp_client = member(&binary, "/ws/t");
    unix_client.expect_text("joined");
    binary.signal("TERM");
    drop((tcp_client, unix_client));
    assert_eq!(binary.end().0.code(), Some(0));
    assert!(!path.exists(), "the socket file was not removed");
}
