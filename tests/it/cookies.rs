//! Cookies and bearer tokens: what a handler sets, and what it reads.

use std::time::Duration;

use standpipe::{Config, Connection, Cookie, Handler, Reply, Request, SameSite};

use crate::support::{Answer, Failure, TestServer, get};

/// Sets the cookie `session` to the value of `?v=`, and shows what a request has.
struct Sessions;

impl Handler for Sessions {
    fn request(&self, request: &mut Request) -> Reply {
        let value = request.query("v").unwrap_or_default();
        let session = Cookie::new("session", value).same_site(SameSite::Strict);
        match request.path() {
            "/login" => {
                let week = Duration::from_secs(7 * 24 * 60 * 60);
                Reply::redirect(303, "/")
                    .set_cookie(session.max_age(week))
                    .set_cookie(Cookie::new("seen", "1").secure(false).http_only(false))
            }
            "/logout" => Reply::redirect(303, "/").set_cookie(session.max_age(Duration::ZERO)),
            "/named" => Reply::text(200, "named\n").set_cookie(Cookie::new(value, "1")),
            "/ws" => Reply::upgrade().set_cookie(session),
            _ => {
                let (cookie, token) = (request.cookie("session"), request.bearer_token());
                Reply::text(200, format!("{cookie:?} {token:?}"))
            }
        }
    }

    fn run(&self, _: &mut Connection) -> Result<(), Failure> {
        Ok(())
    }
}

fn server() -> TestServer {
    TestServer::start(Config::default(), Sessions)
}

fn set_cookies(answer: &Answer) -> Vec<&str> {
    answer.all("Set-Cookie")
}

#[test]
fn cookies_are_set_with_safe_defaults() {
    let server = server();
    let answer = server.get("/login?v=8c1f");
    assert_eq!((answer.status, answer.header("Location")), (303, Some("/")));
    assert_eq!(
        set_cookies(&answer),
        [
            "session=8c1f; Path=/; Max-Age=604800; Secure; HttpOnly; SameSite=Strict",
            "seen=1; Path=/; SameSite=Lax",
        ]
    );
    let removed = "session=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure; HttpOnly; SameSite=Strict";
    assert_eq!(set_cookies(&server.get("/logout")), [removed]);
    let (client, upgraded) = server.client().path("/ws?v=1").request();
    assert_eq!(upgraded.status, 101);
    let cookie = "session=1; Path=/; Secure; HttpOnly; SameSite=Strict";
    assert_eq!(set_cookies(&upgraded), [cookie]);
    drop(client);
}

#[test]
fn invalid_cookie_is_answered_500_and_adds_no_header() {
    let server = server();
    for value in [
        "a;%20Domain=evil.example",
        "a%0d%0aX-Forged:%201",
        "a%00",
        "a%20b",
        "%c3%a4",
        "a,b",
    ] {
        for path in ["/login", "/named", "/ws"] {
            let answer = server.get(&format!("{path}?v={value}"));
            assert_eq!(answer.status, 500, "{path} {value}");
            assert_eq!(answer.header("X-Forged"), None);
            assert!(
                set_cookies(&answer)
                    .iter()
                    .all(|cookie| !cookie.contains("evil"))
            );
            assert!(
                !set_cookies(&answer)
                    .iter()
                    .any(|cookie| cookie.starts_with("session"))
            );
        }
        let upgrade = server.client().path(&format!("/ws?v={value}"));
        assert_eq!(upgrade.request().1.status, 500, "{value}");
    }
}

#[test]
fn cookies_and_tokens_are_read_from_a_request() {
    let server = server();
    for (headers, shown) in [
        ("", "None None"),
        ("Cookie: session=8c1f\r\n", "Some(\"8c1f\") None"),
        (
            "Cookie: a=b; session=8c1f; session=x\r\n",
            "Some(\"8c1f\") None",
        ),
        ("Cookie: xsession=1;session = 2\r\n", "Some(\"2\") None"),
        (
            "Cookie: Session=1\r\ncookie: session=\r\n",
            "Some(\"\") None",
        ),
        ("Authorization: bearer t0ken\r\n", "None Some(\"t0ken\")"),
        ("Authorization: Basic t0ken\r\n", "None None"),
    ] {
        assert_eq!(get(server.addr(), "/", headers).body, shown, "{headers}");
    }
}
