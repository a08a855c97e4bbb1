//! The admin paths: the key that is made at the start, the admin listener, `--admin-open`, and what the start refuses.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::binary::{Binary, run};
use crate::secrets::File;
use crate::support::{
    Answer, Connect, DEADLINE, Stream, TestClient, announced_address, command_with_signals, get,
    http, http_url, post, secure_command, until, within,
};

/// Every admin path that is read with GET.
const ADMIN_GET: [&str; 4] = ["/metrics", "/topics", "/debug/clients", "/dashboard"];

/// A new directory, which is deleted when this is dropped.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Home {
        let path = std::env::temp_dir().join(format!("standpipe-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Home(path)
    }

    fn key_file(&self, port: u16) -> PathBuf {
        self.0.join(format!(".local/state/standpipe/{port}.key"))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns the printed URL of the dashboard.
fn dashboard_url(binary: &Binary) -> &str {
    let lines = binary.announced.iter();
    let mut urls = lines.filter_map(|line| line.strip_prefix("dashboard: "));
    urls.next().unwrap()
}

/// Runs a client command with `home` as the home directory. Returns its exit code and its output.
fn client(home: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
    command.args(arguments).env_clear().env("HOME", home);
    secure_command(&mut command);
    command.stdin(Stdio::null());
    let output = within(20, "the command to end", move || command.output().unwrap());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// Returns the statuses of a publish, of the paths in [`ADMIN_GET`], and of the dashboard's WebSocket.
fn statuses(address: SocketAddr, headers: &str) -> Vec<u16> {
    let posted = post(address, "/publish/t", headers, "x").status;
    let mut statuses = vec![posted];
    statuses.extend(ADMIN_GET.map(|path| get(address, path, headers).status));
    let live = Connect::to(address).path("/dashboard/live");
    let live = headers
        .lines()
        .fold(live, |connect, line| connect.header(line));
    statuses.push(live.request().1.status);
    statuses
}

const ALLOWED: [u16; 6] = [202, 200, 200, 200, 200, 101];

#[test]
fn loopback_request_without_the_made_key_gets_401() {
    let home = Home::new("made");
    let binary = Binary::start_in(&home.0, &["--origin", "https://example.com"]);
    let address = binary.address;
    let (url, key) = dashboard_url(&binary).split_once("#key=").unwrap();
    assert_eq!(url, http_url(address, "/dashboard"));
    assert_eq!(statuses(address, ""), [401; 6]);
    assert_eq!(
        statuses(address, "Authorization: Bearer wrong\r\n"),
        [401; 6]
    );
    let right = format!("Authorization: Bearer {key}\r\n");
    assert_eq!(statuses(address, &right), ALLOWED);
    // A page of another site cannot know the key, but may have been given it.
    let foreign = format!("{right}Origin: https://elsewhere.example\r\n");
    assert_eq!(statuses(address, &foreign), [403; 6]);
    let allowed = format!("{right}Origin: https://example.com\r\n");
    assert_eq!(statuses(address, &allowed), ALLOWED);
    // The key proves enough, also behind a proxy.
    let forwarded = format!("{right}X-Forwarded-For: 192.0.2.1\r\n");
    assert_eq!(statuses(address, &forwarded), ALLOWED);
    let path = format!("/debug/clients?token={key}&key={key}");
    assert_eq!(get(address, &path, "").status, 401, "queries are logged");
    let offered = format!("Sec-WebSocket-Protocol: standpipe.raw, bearer.{key}");
    let live = Connect::to(address)
        .path("/dashboard/live")
        .header(&offered);
    let (_, answer) = live.request();
    assert_eq!(
        (answer.status, answer.header("sec-websocket-protocol")),
        (101, Some("standpipe.raw"))
    );
    // The page, which a browser opens without a key, comes with the 401 and has no data of the server.
    let page = get(address, "/dashboard", "");
    assert_eq!(page.header("www-authenticate"), Some("Bearer"));
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    // The public paths need no key.
    assert_eq!(get(address, "/", "").status, 200);
    TestClient::connect(address, "/ws/t").leave();
}

#[test]
fn made_key_is_private_and_found_by_clients() {
    let home = Home::new("found");
    let binary = Binary::start_in(&home.0, &["-vv"]);
    let path = home.key_file(binary.address.port());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let key = std::fs::read_to_string(&path).unwrap();
    assert!(dashboard_url(&binary).ends_with(&format!("#key={}", key.trim_end())));
    for host in ["127.0.0.1", "localhost"] {
        let url = http_url(binary.address, "").replace("127.0.0.1", host);
        let (code, output) = client(&home.0, &["pub", "t", "x", "--url", &url]);
        assert_eq!(code, Some(0), "{output}");
        let (code, output) = client(&home.0, &["top", "--once", &url]);
        assert_eq!(code, Some(0), "{output}");
    }
    let nowhere = Home::new("nowhere");
    let url = http_url(binary.address, "");
    let (code, output) = client(&nowhere.0, &["pub", "t", "x", "--url", &url]);
    assert!(code == Some(1) && output.contains("401"), "{output}");
    binary.signal("TERM");
    let (_, _, log) = binary.end();
    assert!(!log.contains(key.trim_end()), "{log}");
    assert!(!path.exists(), "the key file was not removed");
}

#[test]
fn key_is_not_printed_into_the_journal() {
    let home = Home::new("journal");
    // The shell names its standard output in the variable, as systemd does, or a stream that does not exist.
    for (stream, has_key) in [("$(stat -Lc %d:%i /dev/fd/3)", false), ("1:1", true)] {
        let mut shell = command_with_signals("/bin/sh");
        let script = format!(
            "exec 3>&1; export JOURNAL_STREAM={stream}; exec \"$0\" --listen 127.0.0.1:0 3>&-"
        );
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_standpipe")]);
        shell.env("HOME", &home.0).env_remove("XDG_RUNTIME_DIR");
        let binary = Binary::of(shell);
        assert_eq!(
            dashboard_url(&binary).contains('#'),
            has_key,
            "{:?}",
            binary.announced
        );
        let key = home.key_file(binary.address.port());
        assert!(key.exists(), "the command finds the key in its file");
    }
}

#[test]
fn server_starts_without_a_place_for_the_key() {
    let binary = Binary::start_in(Path::new("/nonexistent"), &[]);
    let (_, key) = dashboard_url(&binary).split_once("#key=").unwrap();
    let right = format!("Authorization: Bearer {key}\r\n");
    assert_eq!(statuses(binary.address, &right), ALLOWED);
    binary.signal("TERM");
    let (status, _, log) = binary.end();
    assert_eq!(status.code(), Some(0));
    assert!(
        log.contains("WARN") && log.contains("/nonexistent/.local/state/standpipe"),
        "{log}"
    );
}

/// Returns the address of the admin listener.
fn admin_address(binary: &Binary) -> SocketAddr {
    let found = binary
        .announced
        .iter()
        .find_map(|line| announced_address(line.strip_suffix(" (admin)")?));
    found.expect("the admin listener is announced")
}

#[test]
fn only_the_admin_listener_serves_admin_paths() {
    let flags = [
        "--admin-listen",
        "127.0.0.1:0",
        "--origin",
        "https://app.example",
    ];
    let binary = Binary::start(&flags);
    let (public, admin) = (binary.address, admin_address(&binary));
    assert_eq!(statuses(public, ""), [404; 6]);
    // The answer does not tell an admin path from one that does not exist.
    let unknown = get(public, "/nothing", "");
    for path in ADMIN_GET {
        assert_eq!(get(public, path, "").body, unknown.body, "{path}");
        let posted = post(public, path, "", "");
        assert_eq!((posted.status, posted.body), (404, unknown.body.clone()));
    }
    assert_eq!(statuses(admin, ""), ALLOWED);
    assert_eq!(get(public, "/topics/t/history", "").status, 200);
    for address in [public, admin] {
        assert_eq!(get(address, "/healthz", "").status, 200);
        TestClient::connect(address, "/ws/t").leave();
    }
    // DNS rebinding: a page of a foreign site reaches the listener under the name of the site.
    let asked = |host: &str, headers: &str| {
        let head = format!("GET /topics HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        http(admin, head).status
    };
    assert_eq!(asked("localhost", ""), 200);
    assert_eq!(asked("app.example", ""), 421);
    assert_eq!(asked("evil.example", ""), 421);
    assert_eq!(asked("localhost", "Origin: https://app.example\r\n"), 403);
    assert_eq!(dashboard_url(&binary), http_url(admin, "/dashboard"));
}

#[test]
fn admin_listener_with_keys_needs_none_for_metrics_only() {
    let keys = File::new("admin-keys", "s3cret\n");
    let flags = [
        "--admin-listen",
        "127.0.0.1:0",
        "--publish-key-file",
        keys.path(),
    ];
    let binary = Binary::start(&flags);
    let (public, admin) = (binary.address, admin_address(&binary));
    assert_eq!(statuses(admin, ""), [401, 200, 401, 401, 401, 401]);
    let right = "Authorization: Bearer s3cret\r\n";
    assert_eq!(statuses(admin, right), ALLOWED);
    assert_eq!(statuses(public, right), [404; 6]);
    // Other machines may reach the listener, because it has a key.
    let flags = [
        "--admin-listen",
        "0.0.0.0:0",
        "--publish-key-file",
        keys.path(),
    ];
    let everywhere = admin_address(&Binary::start(&flags));
    assert_ne!(everywhere.port(), 0);
}

#[test]
fn flags_that_open_admin_paths_exit_with_78() {
    for (flags, named) in [
        (&["--admin-listen", "0.0.0.0:0"][..], "--publish-key-file"),
        (&["--admin-open", "--listen", "0.0.0.0:0"], "--admin-open"),
        (
            &["--admin-open", "--trusted-proxy", "127.0.0.1"],
            "--admin-open: cannot be used with --trusted-proxy",
        ),
        (
            &["--proxy-protocol"],
            "--proxy-protocol: without --trusted-proxy",
        ),
        (
            &["--admin-open", "--listen", "unix:/tmp/standpipe-78.sock"],
            "--admin-open",
        ),
        (
            &[
                "--admin-open",
                "--listen",
                "127.0.0.1:0",
                "--listen",
                "[::]:0",
            ],
            "--admin-open",
        ),
    ] {
        let listen = if flags.contains(&"--listen") {
            &[][..]
        } else {
            &["--listen", "127.0.0.1:0"]
        };
        let (code, log) = run(&[listen, flags].concat());
        assert_eq!(code, Some(78), "{flags:?}: {log}");
        assert!(log.contains(named), "{flags:?}: {log}");
    }
}

#[test]
fn admin_open_needs_a_direct_request_to_loopback() {
    let binary = Binary::start(&["--origin", "https://example.com", "--admin-open"]);
    let address = binary.address;
    assert_eq!(statuses(address, ""), ALLOWED);
    // A page of another site, which the user of this machine has opened.
    for origin in ["https://elsewhere.example", "null", "http://localhost:1"] {
        let foreign = format!("Origin: {origin}\r\n");
        assert_eq!(statuses(address, &foreign), [403; 6], "{origin}");
    }
    // HAProxy passes the name of the site on, which --origin allows.
    let head = "GET /debug/clients HTTP/1.1\r\nHost: example.com\r\n\r\n";
    assert_eq!(http(address, head).status, 403);
    // An HTTP/1.0 request may have no Host.
    let head = "GET /debug/clients HTTP/1.0\r\n\r\n";
    assert_eq!(http(address, head).status, 403);
    for forwarded in [
        "Forwarded: for=192.0.2.1\r\n",
        "X-Forwarded-For: 192.0.2.1\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "X-Forwarded-Host: example.com\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Port: 443\r\n",
        "X-Forwarded-Server: proxy\r\n",
        "Via: 1.1 proxy\r\n",
        "X-Real-IP: 192.0.2.1\r\n",
        "X-Client-IP: 192.0.2.1\r\n",
        "CF-Connecting-IP: 192.0.2.1\r\n",
        "True-Client-IP: 192.0.2.1\r\n",
    ] {
        assert_eq!(statuses(address, forwarded), [403; 6], "{forwarded}");
    }
    binary.signal("TERM");
    let (_, _, log) = binary.end();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings[0].contains("--admin-open"), "{log}");
}

#[test]
fn unix_admin_socket_checks_host() {
    let path = std::env::temp_dir().join(format!("standpipe-adm-{}.sock", std::process::id()));
    let listen = format!("unix:{}", path.display());
    let binary = Binary::start(&["--admin-listen", &listen]);
    assert_eq!(get(binary.address, "/topics", "").status, 404);
    // A browser reaches the socket through a forwarded port (`ssh -L`). Then a page whose host name resolves to loopback
    // has the origin that `Host` names.
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:9001", 200),
        ("", 200),
        ("evil.example:9001", 421),
        ("standpipe", 421),
    ] {
        let mut unix = std::os::unix::net::UnixStream::connect(&path).unwrap();
        unix.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!("GET /topics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        unix.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        unix.read_to_end(&mut answer).unwrap();
        assert_eq!(Answer::parse(&answer).status, status, "{host}");
    }
    binary.signal("TERM");
    assert_eq!(binary.end().0.code(), Some(0));
}

#[test]
fn clients_without_a_token_are_warned_of_once() {
    let tokens = File::new("warned-tokens", "t0ken\n");
    for (flags, expected) in [
        (&["--listen", "0.0.0.0:0", "--listen", "[::]:0"][..], 1),
        (&["--listen", "127.0.0.1:0"], 0),
        (&["--listen", "0.0.0.0:0", "--token-file", tokens.path()], 0),
    ] {
        let binary = Binary::start(flags);
        binary.signal("TERM");
        let (_, _, log) = binary.end();
        let count = log
            .matches("may connect or publish without a token")
            .count();
        assert_eq!(count, expected, "{flags:?}: {log}");
    }
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn closed_or_full_output_does_not_prevent_the_start() {
    let reader = |program: &mut Command| program.stdin(Stdio::piped()).spawn().unwrap();
    let mut ended = reader(&mut Command::new("true"));
    let closed = ended.stdin.take().unwrap();
    ended.wait().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full");
    // A pipe whose reader reads nothing, filled up.
    let mut sleeper = KillOnDrop(reader(Command::new("sleep").arg("600")));
    let filled = sleeper.0.stdin.take().unwrap();
    rustix::io::ioctl_fionbio(&filled, true).unwrap();
    while rustix::io::write(&filled, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&filled, false).unwrap();
    for (name, stdout) in [
        ("closed", Stdio::from(closed)),
        ("full", Stdio::from(full.unwrap())),
        ("unread", Stdio::from(filled)),
    ] {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = port.local_addr().unwrap();
        drop(port);
        let mut command = Command::new(env!("CARGO_BIN_EXE_standpipe"));
        command.args(["--listen", &address.to_string()]).env_clear();
        secure_command(&mut command);
        let command = command.stdin(Stdio::null()).stdout(stdout);
        let mut child = KillOnDrop(command.stderr(Stdio::piped()).spawn().unwrap());
        until("the server accepts, or has ended", || {
            Stream::connect_tcp(address).is_ok() || child.0.try_wait().unwrap().is_some()
        });
        let healthy = get(address, "/healthz", "").status;
        let pid = child.0.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(sent.unwrap().success());
        let mut stderr = child.0.stderr.take().unwrap();
        let log = within(20, "the end of the log", move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        let mut code = None;
        until("the server has ended", || {
            code = child.0.try_wait().unwrap();
            code.is_some()
        });
        let code = code.and_then(|status| status.code());
        assert_eq!((healthy, code), (200, Some(0)), "{name}: {log}");
        let warned = log
            .lines()
            .any(|line| line.contains("WARN") && line.contains(&format!("listening on {address}")));
        assert!(warned, "{name}: {log}");
    }
}
