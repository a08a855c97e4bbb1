//! The flags, the variables and the keys of the configuration file for TLS, and what is wrong with them.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::secrets::File;
use crate::support::within;

/// Runs a command that ends, and returns its exit code and its output.
#[track_caller]
fn run(mut command: Command) -> (Option<i32>, String) {
    let output = within(60, "the command to end", move || {
        command.output().expect("the binary runs")
    });
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("UTF-8");
    (output.status.code(), text)
}

#[test]
fn flag_of_tls_without_the_others_is_refused() {
    let (certificate, private, ca) = (key("server.pem"), key("server.key"), key("ca.pem"));
    for (flags, text) in [
        (
            &["--tls-cert", &certificate][..],
            "--tls-cert: needs --tls-key",
        ),
        (&["--tls-key", &private], "--tls-key: needs --tls-cert"),
        (
            &["--tls-client-ca", &ca],
            "--tls-client-ca: needs --tls-cert and --tls-key",
        ),
        (
            &["--tls-client-ca", &ca, "--tls-key", &private],
            "--tls-key: needs --tls-cert",
        ),
    ] {
        for command in ["serve", "check-config"] {
            let flags = [&[command, "--listen", "127.0.0.1:0"], flags].concat();
            let (code, output) = run(standpipe(&flags));
            assert_eq!(code, Some(78), "{flags:?}: {output}");
            assert!(output.contains(text), "{flags:?}: {output}");
        }
    }
    let mut command = standpipe(&["check-config"]);
    command.env("STANDPIPE_TLS_CERT", &certificate);
    let (code, output) = run(command);
    assert_eq!(code, Some(78), "{output}");
    assert!(
        output.contains("STANDPIPE_TLS_CERT: needs --tls-key"),
        "{output}"
    );
}

/// As a file of tokens that cannot be used: code 1 from `serve`, and 78 from `check-config`.
#[test]
fn file_that_cannot_be_used_is_named_with_its_flag() {
    let nothing = File::new("tls-nothing", "nothing\n");
    let [encrypted, encrypted_by_openssl] = [
        ("tls-pkcs8", "ENCRYPTED PRIVATE KEY", ""),
        (
            "tls-openssl",
            "EC PRIVATE KEY",
            "Proc-Type: 4,ENCRYPTED\n\n",
        ),
    ]
    .map(|(name, kind, header)| {
        let text = format!("-----BEGIN {kind}-----\n{header}AAAA\n-----END {kind}-----\n");
        File::new(name, &text)
    });
    let cut_off = File::new("tls-cut-off", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let (certificate, private) = (key("server.pem"), key("server.key"));
    let (other, missing) = (key("renewed.key"), "/nonexistent/file.pem");
    for (cert, private, ca, flag, text) in [
        (missing, &*private, None, "--tls-cert", missing),
        (&*certificate, missing, None, "--tls-key", missing),
        (
            &*certificate,
            &*private,
            Some(missing),
            "--tls-client-ca",
            missing,
        ),
        (
            nothing.path(),
            &*private,
            None,
            "--tls-cert",
            "has no certificate",
        ),
        (
            &*certificate,
            nothing.path(),
            None,
            "--tls-key",
            "has no private key",
        ),
        (
            &*certificate,
            &*private,
            Some(nothing.path()),
            "--tls-client-ca",
            "has no certificate",
        ),
        (
            &*certificate,
            &*certificate,
            None,
            "--tls-key",
            "has no private key",
        ),
        (
            &*certificate,
            &*other,
            None,
            "--tls-cert",
            "the key does not belong to the certificate",
        ),
        (
            &*certificate,
            encrypted.path(),
            None,
            "--tls-key",
            "is encrypted; `openssl pkey -in",
        ),
        (
            &*certificate,
            encrypted_by_openssl.path(),
            None,
            "--tls-key",
            "is encrypted; `openssl pkey -in",
        ),
        (
            cut_off.path(),
            &*private,
            None,
            "--tls-cert",
            "a line that begins with -----END is missing",
        ),
        (
            "/dev/zero",
            &*private,
            None,
            "--tls-cert",
            "larger than 1048576 bytes",
        ),
        (
            &*certificate,
            "/dev/zero",
            None,
            "--tls-key",
            "larger than 1048576 bytes",
        ),
    ] {
        for (command, expected) in [("serve", 1), ("check-config", 78)] {
            let mut flags = vec![command, "--listen", "127.0.0.1:0"];
            flags.extend(["--tls-cert", cert, "--tls-key", private]);
            flags.extend(ca.iter().flat_map(|ca| ["--tls-client-ca", ca]));
            let (code, output) = run(standpipe(&flags));
            assert_eq!(code, Some(expected), "{flags:?}: {output}");
            assert!(
                output.contains(&format!("{flag}: ")) && output.contains(text),
                "{flags:?}: {output}"
            );
        }
    }
}

#[test]
fn variables_and_the_file_set_the_flags_of_tls() {
    let (certificate, private) = (key("server.pem"), key("server.key"));
    let text = format!("tls-cert = \"{certificate}\"\ntls-key = \"{private}\"\n");
    let file = File::new("tls-config", &text);
    let (code, output) = run(standpipe(&["check-config", "--config", file.path()]));
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains(&certificate), "{output}");

    let mut command = standpipe(&["--listen", "127.0.0.1:0", "--admin-open"]);
    command.env("STANDPIPE_TLS_CERT", &certificate);
    command.env("STANDPIPE_TLS_KEY", &private);
    let hub = Hub::of(command);
    assert_eq!(hub.get("/healthz").status, 200);

    let mut exec = standpipe(&["exec", "--config", file.path()]);
    exec.args(["--listen", "127.0.0.1:0", "--admin-open", "--", "cat"]);
    let hub = Hub::of(exec);
    let mut client = hub.connect("/ws/lobby");
    client.text("through cat");
    client.expect("through cat");
    client.leave();
}

#[test]
fn key_that_others_can_read_is_reported() {
    let files = Files::new("open-key");
    files.copy("server.pem", "cert.pem");
    files.copy("server.key", "key.pem");
    let (certificate, private) = (files.path("cert.pem"), files.path("key.pem"));
    let set_mode = |mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&private, mode).expect("the file is ours");
    };
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--admin-open",
        "--tls-cert",
        &certificate,
    ];
    let flags = [&flags[..], &["--tls-key", &private]].concat();
    let warning = format!("--tls-key: every user of this machine can read {private}");
    for (mode, is_open) in [(0o600, false), (0o640, false), (0o604, true)] {
        set_mode(mode);
        let check = [&["check-config"], &flags[..]].concat();
        let (code, output) = run(standpipe(&check));
        assert_eq!(code, Some(0), "{output}");
        assert_eq!(output.contains(&warning), is_open, "{mode:o}: {output}");
    }
    let hub = Hub::of(standpipe(&flags));
    until("the server warns too", || hub.log().contains(&warning));
}
