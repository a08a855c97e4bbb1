//! Under systemd: notifications on a datagram socket, and inherited sockets with names. The socket of a test takes the
//! place of systemd's.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, get, secure_command, until};
use crate::threats::spawned::{Spawned, standpipe};

/// The socket that systemd would read.
struct Manager {
    socket: UnixDatagram,
    /// The value of `NOTIFY_SOCKET`.
    name: String,
    path: Option<PathBuf>,
}

impl Manager {
    fn at_path(test: &str) -> Manager {
        let path = format!("standpipe-notify-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(path);
        let _ = fs::remove_file(&path);
        Manager {
            socket: UnixDatagram::bind(&path).unwrap(),
            name: path.to_str().unwrap().to_owned(),
            path: Some(path),
        }
    }

    fn abstract_name(test: &str) -> Manager {
        let name = format!("standpipe-notify-{test}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Manager {
            socket: UnixDatagram::bind_addr(&address).unwrap(),
            name: format!("@{name}"),
            path: None,
        }
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = standpipe(flags);
        command.env("NOTIFY_SOCKET", &self.name);
        command
    }

    /// Returns the next notification.
    #[track_caller]
    fn next(&self) -> String {
        self.socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut buffer = [0; 4096];
        let read = self.socket.recv(&mut buffer);
        let read = read.expect("the server has notified nobody in time");
        String::from_utf8(buffer[..read].to_vec()).unwrap()
    }

    /// Returns the next notification that is not about the watchdog.
    #[track_caller]
    fn next_state(&self) -> String {
        loop {
            let next = self.next();
            if next != "WATCHDOG=1\n" {
                return next;
            }
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

#[test]
fn start_and_end_are_notified() {
    for manager in [Manager::at_path("states"), Manager::abstract_name("states")] {
        let mut spawned = Spawned::of(manager.command(&[]));
        let address = spawned.addr();
        let ready = manager.next();
        let expected = format!("READY=1\nSTATUS=listening on {address}");
        assert!(ready.starts_with(&expected), "{ready:?}");
        assert_eq!(get(address, "/healthz", "").status, 200);
        spawned.signal(&["TERM"]);
        assert_eq!(manager.next(), "STOPPING=1\n");
        assert_eq!(spawned.end().code(), Some(0));
        manager.socket.set_nonblocking(true).unwrap();
        let more = manager.socket.recv(&mut [0]);
        assert!(more.is_err(), "the end is notified once");
    }
}

#[test]
fn reload_is_notified_with_its_time() {
    let manager = Manager::at_path("reload");
    let tokens = std::env::temp_dir().join(format!("standpipe-tokens-{}", std::process::id()));
    fs::write(&tokens, "first\n").unwrap();
    let spawned = Spawned::of(manager.command(&["--token-file", tokens.to_str().unwrap()]));
    assert!(manager.next().starts_with("READY=1\n"));
    for (content, line) in [("second\n", "reloaded"), ("", "stay in force")] {
        fs::write(&tokens, content).unwrap();
        spawned.signal(&["HUP"]);
        let reloading = manager.next();
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let micros = micros.and_then(|micros| micros.trim_end().parse::<u64>().ok());
        // The clock is that of the kernel, which counts from its start.
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let micros = micros.unwrap_or_else(|| panic!("{reloading:?}"));
        assert!(
            micros as f64 / 1e6 <= uptime + 1.0,
            "{reloading:?}, {uptime}"
        );
        // A reload that has failed is also over.
        assert_eq!(manager.next(), "READY=1\n");
        until("the reload is logged", || spawned.log().contains(line));
    }
    fs::remove_file(&tokens).unwrap();
}

#[test]
fn watchdog_is_notified_until_the_process_stops() {
    let manager = Manager::abstract_name("watchdog");
    let mut command = manager.command(&[]);
    command.env("WATCHDOG_USEC", "1500000");
    let spawned = Spawned::of(command);
    assert!(manager.next().starts_with("READY=1\n"));
    let began = Instant::now();
    let interval = Duration::from_millis(1500);
    manager.socket.set_read_timeout(Some(interval)).unwrap();
    for n in 0..4 {
        let mut buffer = [0; 64];
        let read = manager.socket.recv(&mut buffer);
        let read = read.unwrap_or_else(|_| panic!("systemd would have ended the server ({n})"));
        assert_eq!(&buffer[..read], b"WATCHDOG=1\n");
    }
    // The first is sent immediately, and then each third of the time.
    assert!(began.elapsed() >= Duration::from_secs(1), "too often");
    // A stopped process stands for a thread that hangs.
    spawned.signal(&["STOP"]);
    manager
        .socket
        .set_read_timeout(Some(Duration::from_millis(1500)))
        .unwrap();
    let mut is_silent = false;
    // One notification may be on its way.
    for _ in 0..2 {
        is_silent = is_silent || manager.socket.recv(&mut [0; 64]).is_err();
    }
    assert!(is_silent, "a stopped process is not alive");
    spawned.signal(&["CONT"]);
    assert_eq!(manager.next(), "WATCHDOG=1\n");
    spawned.signal(&["TERM"]);
    assert_eq!(manager.next_state(), "STOPPING=1\n");
}

#[test]
fn watchdog_of_another_process_is_not_notified() {
    let manager = Manager::abstract_name("other");
    let mut command = manager.command(&[]);
    command
        .env("WATCHDOG_USEC", "100000")
        .env("WATCHDOG_PID", "1");
    let mut spawned = Spawned::of(command);
    assert!(manager.next().starts_with("READY=1\n"));
    // In this time, the watchdog would have been notified several times.
    manager
        .socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err());
    spawned.signal(&["TERM"]);
    assert_eq!(manager.next(), "STOPPING=1\n");
    assert_eq!(spawned.end().code(), Some(0));
}

#[test]
fn full_notify_socket_does_not_stop_the_server() {
    let manager = Manager::at_path("full");
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sender.send_to(b"x", &manager.name).is_ok() {
        sent += 1;
        assert!(sent < 100_000, "the socket is never full");
    }
    let mut command = manager.command(&["--handshake-timeout", "300ms"]);
    command.env("WATCHDOG_USEC", "300000");
    let mut spawned = Spawned::of(command);
    assert_eq!(get(spawned.addr(), "/healthz", "").status, 200);
    // The watchdog's thread still checks the deadlines.
    let mut silent = spawned.client("/").open();
    silent.expect_reset();
    spawned.signal(&["TERM"]);
    assert_eq!(spawned.end().code(), Some(0));
    let warning = "the service manager could not be notified";
    until("the failure is logged", || spawned.log().contains(warning));
    assert_eq!(
        spawned.log().matches(warning).count(),
        1,
        "{}",
        spawned.log()
    );
}

#[test]
fn wrong_notify_socket_is_a_warning() {
    let mut command = standpipe(&[]);
    command.env("NOTIFY_SOCKET", "vsock:2:1");
    let spawned = Spawned::of(command);
    assert_eq!(get(spawned.addr(), "/healthz", "").status, 200);
    until("the variable is named", || {
        spawned.log().contains("NOTIFY_SOCKET=vsock:2:1: ")
    });
}

/// Returns a command that gets listening sockets with these names. What systemd does: the sockets are the descriptors from
/// 3 on, and LISTEN_PID is the process that inherits them.
pub(crate) fn inheriting(names: &str, flags: &[&str]) -> Command {
    const PASS_ON: &str = "import os, socket, sys\n\
        names = sys.argv[2]\n\
        sockets = [socket.create_server(('127.0.0.1', 0)) for _ in names.split(':')]\n\
        copies = [os.dup(s.fileno()) for s in sockets for _ in range(8)]\n\
        for n, s in enumerate(sockets): os.dup2(copies[8 * n + 7], 3 + n, inheritable=True)\n\
        env = {'LISTEN_FDS': str(len(sockets)), 'LISTEN_PID': str(os.getpid()), 'LISTEN_FDNAMES': names}\n\
        env.update((name, os.environ[name]) for name in os.environ if name.startswith('STANDPIPE_TLS_'))\n\
        os.execve(sys.argv[1], ['standpipe'] + sys.argv[3:], env)";
    let mut command = Command::new("python3");
    command.args(["-c", PASS_ON, env!("CARGO_BIN_EXE_standpipe"), names]);
    command.args(flags);
    secure_command(&mut command);
    command
}

/// Returns the addresses that the process has printed, in the order of the lines.
fn printed_addresses(spawned: &Spawned, count: usize) -> Vec<std::net::SocketAddr> {
    let mut found = Vec::new();
    until("the addresses are printed", || {
        let text = spawned.printed();
        let printed = text.split("://").skip(1);
        let addresses =
            printed.filter_map(|rest| rest.split(['/', ' ', '\n']).next()?.parse().ok());
        found = vec![spawned.addr()];
        for address in addresses {
            if !found.contains(&address) {
                found.push(address);
            }
        }
        found.len() >= count
    });
    found
}

#[test]
fn named_sockets_are_served() {
    // Both sockets named `web` are taken by one flag.
    let flags = ["--listen", "fd:web", "--admin-listen", "fd:admin"];
    let spawned = Spawned::of(inheriting("web:admin:web", &flags));
    let addresses = printed_addresses(&spawned, 3);
    let status = |path: &str| {
        let answers = addresses
            .iter()
            .map(|address| get(*address, path, "").status);
        let mut answers: Vec<u16> = answers.collect();
        answers.sort_unstable();
        answers
    };
    assert_eq!(status("/healthz"), [200, 200, 200]);
    assert_eq!(
        status("/topics"),
        [200, 404, 404],
        "one is the admin listener"
    );
    assert!(
        !spawned.log().contains("no flag takes"),
        "{}",
        spawned.log()
    );
}

#[test]
fn inherited_socket_that_no_flag_takes_is_a_warning() {
    let flags = ["--listen", "fd:web", "--admin-open"];
    let spawned = Spawned::of(inheriting("web:forgotten", &flags));
    assert_eq!(get(spawned.addr(), "/healthz", "").status, 200);
    until("the socket is named", || {
        (spawned.log()).contains("no flag takes the inherited socket fd:4 (forgotten)")
    });
}

#[test]
fn name_of_no_socket_is_refused_with_the_names() {
    for (flags, why) in [
        (
            ["--listen", "fd:wbe"],
            "LISTEN_FDNAMES has these names: web, admin",
        ),
        (
            ["--listen", "fd:web,fd:web"],
            "another flag has taken this socket",
        ),
        (
            ["--listen", "fd:web,fd:3"],
            "another flag has taken this socket",
        ),
        (
            ["--listen", "fd:5"],
            "LISTEN_FDS and LISTEN_PID announce no such socket",
        ),
    ] {
        let output = inheriting("web:admin", &flags).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {output:?}");
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(log.contains(why), "{flags:?}: {log}");
    }
}
