//! The binary as people run it: what it prints, what it serves, how it ends, and what a client costs it.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use standpipe::Message;

use crate::support::{Answer, Connect, DEADLINE, Process, TestClient, get, http, until, within};

/// `standpipe`, with nothing in its environment that would decide a test.
fn standpipe(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
    command.args(flags).env_clear().stdin(Stdio::null());
    command
}

/// The binary, serving on a free port. Dropped, it is killed.
pub(crate) struct Binary {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What it printed up to where it serves.
    announced: Vec<String>,
    printed: Receiver<String>,
    log: Option<JoinHandle<String>>,
}

impl Binary {
    #[track_caller]
    pub(crate) fn start(flags: &[&str]) -> Binary {
        Binary::of(standpipe(&[&["--listen", "127.0.0.1:0"], flags].concat()))
    }

    #[track_caller]
    fn of(mut command: Command) -> Binary {
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
        let announced: Vec<String> = (0..4)
            .map(|_| printed.recv_timeout(DEADLINE))
            .collect::<Result<_, _>>()
            .expect("waited for it to say where it listens");
        let address = announced[0]
            .strip_prefix("standpipe listening on http://")
            .and_then(|rest| rest.strip_suffix("/"))
            .unwrap_or_else(|| panic!("{announced:?}"));
        let address = address.parse().unwrap();
        let log = Some(log);
        Binary {
            child,
            address,
            announced,
            printed,
            log,
        }
    }

    #[track_caller]
    pub(crate) fn connect(&self, path: &str) -> TestClient {
        TestClient::connect(self.address, path)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.address, path, "")
    }

    /// What the kernel knows of it.
    pub(crate) fn process(&self) -> Process {
        Process::of(self.child.id())
    }

    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success(), "{name} could not be sent");
    }

    /// Waits for its end: exit code, last line, log.
    #[track_caller]
    pub(crate) fn end(mut self) -> (ExitStatus, Option<String>, String) {
        let mut ended = None;
        until("standpipe has ended", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        let log = self.log.take().unwrap();
        let log = within(20, "the end of its log", || log.join().unwrap());
        // Ends when the pipe does.
        let last = self.printed.iter().last();
        (ended.unwrap(), last, log)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it to its end: exit code and what it said on standard error.
#[track_caller]
pub(crate) fn run(flags: &[&str]) -> (Option<i32>, String) {
    let mut command = standpipe(flags);
    let what = format!("standpipe {} to end", flags.join(" "));
    let output = within(20, &what, move || command.output().unwrap());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn it_serves_a_socket_that_is_passed_on() {
    // What systemd does: the socket as descriptor 3, and its heir's own number beside it.
    const PASS_ON: &str = "import os, socket, sys\n\
        s = socket.create_server(('127.0.0.1', 0))\n\
        os.dup2(s.fileno(), 3)\n\
        os.set_inheritable(3, True)\n\
        env = {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}\n\
        os.execve(sys.argv[1], ['standpipe', '--listen', 'fd:3'], env)";
    let mut command = Command::new("python3");
    command.args(["-c", PASS_ON, env!("CARGO_BIN_EXE_standpipe")]);
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
fn it_prints_the_urls_to_open() {
    let binary = Binary::start(&[]);
    let address = binary.address;
    assert_ne!(address.port(), 0);
    assert!(binary.announced[1].contains(&format!("ws://{address}/echo")));
    assert!(binary.announced[2].contains(&format!("ws://{address}/ws/TOPIC")));
}

#[test]
fn it_serves_its_page_and_its_health() {
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
    // JSON mode is a subprotocol, and who does not speak it is told.
    let (_, answer) = Connect::to(binary.address).path("/ws").request();
    assert_eq!(answer.status, 400);
}

#[test]
fn it_echoes_unless_it_is_told_not_to() {
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

/// A client that is a member for sure, because its own message came back.
#[track_caller]
fn member(binary: &Binary, path: &str) -> TestClient {
    let mut client = binary.connect(path);
    client.text("joined");
    client.expect_text("joined");
    client
}

#[test]
fn what_is_sent_to_a_topic_comes_to_all_its_members_and_to_nobody_else() {
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
    second.text("alone");
    second.expect_text("alone");
    elsewhere.text("undisturbed");
    elsewhere.expect_text("undisturbed");
    let (_, answer) = Connect::to(binary.address)
        .path(&format!("/ws/{}", "t".repeat(201)))
        .request();
    assert_eq!(answer.status, 400);
}

#[test]
fn with_echo_false_a_sender_hears_the_others_alone() {
    let binary = Binary::start(&[]);
    let mut silent = binary.connect("/ws/t?echo=false");
    let mut other = member(&binary, "/ws/t");
    // It joins when its own thread comes to it; that nobody is told.
    let mut heard = 0;
    until("it is a member", || {
        other.text("are you there?");
        other.expect_text("are you there?");
        while silent.next_within(Duration::from_millis(20)).is_some() {
            heard += 1;
        }
        heard > 0
    });
    silent.text("mine");
    other.expect_text("mine");
    other.text("theirs");
    silent.expect_text("theirs");
}

#[test]
fn a_wrong_flag_or_value_ends_with_2_and_says_what_is_right() {
    for (flags, right) in [
        (&["--queue-byte", "1"][..], "--queue-bytes"),
        (&["--write-timeout", "30"], "30s"),
        (&["--max-message", "64K"], "64KiB"),
        (&["--listen", "9000"], "127.0.0.1:9000"),
        (&["serve", "--queue", "0"], "at least 1"),
    ] {
        let (code, said) = run(flags);
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        assert!(said.contains(right), "{flags:?}: {said}");
    }
}

#[test]
fn an_address_in_use_ends_with_1_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = run(&["--listen", &address]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address), "{said}");
}

#[test]
fn one_sigterm_or_ctrl_c_closes_clients_with_1001_and_ends_with_0() {
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
fn a_client_that_does_not_answer_is_lost_and_the_end_is_still_clean() {
    let binary = Binary::start(&["--shutdown-timeout", "200ms"]);
    let mut silent = binary.connect("/echo");
    binary.signal("TERM");
    silent.expect_close(1001);
    let (status, last, log) = binary.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(last.as_deref(), Some("drained 0, lost 1"));
}

#[test]
fn a_second_signal_leaves_at_once_with_130() {
    let binary = Binary::start(&["--shutdown-timeout", "10m", "--close-timeout", "10m"]);
    let mut hangs = binary.connect("/echo");
    binary.signal("INT");
    // It is closing, and this client does not answer.
    hangs.expect_close(1001);
    binary.signal("INT");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(130), "{log}");
}

#[test]
fn a_client_costs_one_descriptor_and_two_threads_with_its_number_until_it_leaves() {
    let binary = Binary::start(&[]);
    let process = binary.process();
    let descriptors = process.descriptors();
    let house = ["ctrl-c", "sp-dash", "sp-log", "sp-watchdog", "standpipe"];
    until("the house's own threads have their names", || {
        process.threads() == house
    });
    let threads = house.len();

    let mut clients: Vec<TestClient> = (0..5).map(|_| binary.connect("/echo")).collect();
    let mut names: Vec<_> = (1..=5)
        .flat_map(|n| [format!("sp-{n}-read"), format!("sp-{n}-write")])
        .collect();
    names.sort();
    // A thread gives itself its name, when it first runs.
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

    // Every way to leave: politely, with a fault, without a word, half said.
    clients.pop().unwrap().leave();
    let mut faulty = clients.pop().unwrap();
    faulty.bytes([0xff, 0xff]);
    faulty.expect_close(1002);
    drop(faulty);
    clients.pop().unwrap().reset();
    clients.pop().unwrap().bytes([0x81]);
    let last = clients.pop().unwrap();
    until("four clients are gone", || {
        process.descriptors() == descriptors + 1
    });
    until("their threads are too", || {
        process.client_threads() == ["sp-1-read", "sp-1-write"]
    });
    last.leave();
    until("all threads are gone", || {
        process.client_threads().is_empty()
    });
    assert_eq!(process.descriptors(), descriptors);
    assert_eq!(process.threads().len(), threads);
    // Plain requests leave nothing behind either.
    for _ in 0..20 {
        assert_eq!(binary.get("/healthz").status, 200);
    }
    until("requests are gone", || process.client_threads().is_empty());
    assert_eq!(process.descriptors(), descriptors);
}

#[test]
fn it_listens_where_it_is_told_everywhere_at_once() {
    let path = std::env::temp_dir().join(format!("standpipe-it-{}-bin.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let unix = format!("unix:{}", path.display());
    let binary = Binary::start(&["--listen", &unix]);
    let line = binary.printed.recv_timeout(DEADLINE).unwrap();
    assert_eq!(line, format!("standpipe listening on {unix}"));
    let mut there = Connect::to_unix(&path).path("/ws/t").connect();
    there.text("joined");
    there.expect_text("joined");
    let here = member(&binary, "/ws/t");
    there.expect_text("joined");
    binary.signal("TERM");
    drop((here, there));
    assert_eq!(binary.end().0.code(), Some(0));
    assert!(!path.exists(), "the socket is left behind");
}
