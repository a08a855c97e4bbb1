//! The authorities that the client trusts, and its own certificate.

use super::*;

/// Counts the requests.
struct Counting(Arc<AtomicUsize>);

impl standpipe::Handler for Counting {
    fn request(&self, _: &mut Request) -> Reply {
        self.0.fetch_add(1, Ordering::Relaxed);
        Reply::upgrade()
    }

    fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
        echo(conn)
    }
}

#[test]
fn certificate_must_be_for_the_host_and_of_a_known_authority() {
    let requests = Arc::new(AtomicUsize::new(0));
    let server = tls_server(Config::default(), Counting(Arc::clone(&requests)));
    let other = trusting(rustls::ALL_VERSIONS, "other_ca.pem").with_no_client_auth();
    let error = builder(&server)
        .tls(other)
        .connect()
        .expect_err("not trusted");
    assert_eq!(
        error.to_string(),
        "the certificate of localhost is not trusted: no authority that is trusted here has signed it"
    );
    assert!(matches!(
        error,
        ConnectError::Certificate {
            reason: CertificateError::UnknownIssuer,
            ..
        }
    ));
    let socket = TcpStream::connect(server.addr()).expect("the server listens");
    let client = Client::builder("wss://other.test/").tls(client_config());
    let error = client.stream(socket).connect().expect_err("another name");
    assert_eq!(
        error.to_string(),
        "the certificate of other.test is not trusted: it is for other names"
    );
    // The default trusts the authorities of the system, if there are any. The one of the tests is never among them.
    let url = format!("wss://localhost:{}/", server.addr().port());
    let error = Client::connect(&url).expect_err("not trusted");
    assert!(
        matches!(
            error,
            ConnectError::Certificate { .. } | ConnectError::NoRoots(_)
        ),
        "{error}"
    );
    // None of them got as far as a request.
    assert_eq!(requests.load(Ordering::Relaxed), 0);
    connect(&server)
        .close(1000, "")
        .expect("a closing handshake");
    assert_eq!(requests.load(Ordering::Relaxed), 1);
}

#[test]
fn name_that_no_certificate_has_is_refused() {
    let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
    let client = Client::builder("wss://a_b..c/")
        .tls(client_config())
        .stream(ours);
    let error = client.connect().expect_err("no such name");
    assert!(
        matches!(&error, ConnectError::ServerName(name) if name == "a_b..c"),
        "{error}"
    );
}

#[test]
fn server_may_require_a_certificate_of_the_client() {
    let tls = tls_config_with_client_ca("ca.pem");
    let server = tls_server_of(tls, Config::default(), |conn: &mut Connection| {
        let tls = conn.request().tls().expect("a session");
        let count = tls.peer_certificates().len().to_string();
        conn.send(count)?;
        Ok(())
    });
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let with = |name: &str| tls_client_with(&[version], Some(name));
        for name in ["client", "long_client"] {
            let client = builder(&server).tls(with(name)).connect();
            let mut client = client.expect("the certificate is accepted");
            assert_eq!(client.recv().expect("a message"), Some(Message::text("2")));
        }
        let without = trusting(&[version], "ca.pem").with_no_client_auth();
        for tls in [without, with("other_client")] {
            let error = builder(&server).tls(tls).connect().expect_err("refused");
            assert!(
                matches!(&error, ConnectError::Tls(rustls::Error::AlertReceived(_))),
                "{version:?}: {error:?}"
            );
        }
    }
}

#[test]
fn only_one_side_with_tls_is_an_error() {
    let server = tls_server(Config::default(), echo);
    let url = format!("ws://127.0.0.1:{}/", server.addr().port());
    let refused = Client::connect(&url).expect_err("no TLS");
    assert!(
        matches!(&refused, ConnectError::Refused(answer) if answer.status() == 400),
        "{refused:?}"
    );
    // The client expects TLS, and the server has none.
    let plain = TestServer::plain(Config::default(), echo);
    let error = builder(&plain).connect().expect_err("no TLS");
    assert!(matches!(&error, ConnectError::Tls(_)), "{error:?}");
}
