use std::time::Duration;

use super::*;
use crate::http1::After;

fn text(reply: &Reply, head_only: bool) -> String {
    String::from_utf8(reply.to_bytes(head_only, After::Close)).expect("text")
}

#[test]
fn every_response_is_complete_and_ends_the_connection() {
    let answer = text(&Reply::status(404), false);
    assert!(answer.starts_with("HTTP/1.1 404 Not Found\r\n"), "{answer}");
    assert!(answer.contains("\r\nContent-Length: 10\r\n"), "{answer}");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nNot Found\n"), "{answer}");
    assert!(text(&Reply::status(421), false).starts_with("HTTP/1.1 421 Misdirected Request\r\n"));
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let reply = Reply::html("<p>hi");
    let (head, get) = (text(&reply, true), text(&reply, false));
    assert_eq!(format!("{head}<p>hi"), get);
    assert!(head.contains("Content-Length: 5\r\n"), "{head}");
}

#[test]
fn status_204_has_no_body_and_no_length() {
    let answer = text(&Reply::status(204), false);
    assert!(
        answer.ends_with("\r\n\r\n") && !answer.contains("\r\nContent-"),
        "{answer}"
    );
}

#[test]
fn unknown_code_has_no_reason() {
    let answer = text(&Reply::status(299), false);
    // RFC 9112 §4: the space is required.
    assert!(answer.starts_with("HTTP/1.1 299 \r\n"), "{answer}");
}

#[test]
fn kept_connection_is_announced_with_its_idle_time() {
    let after = After::KeepAlive(Duration::from_secs(10));
    let answer = Reply::status(200).to_bytes(false, after);
    let answer = String::from_utf8(answer).expect("text");
    let lines = "\r\nConnection: keep-alive\r\nKeep-Alive: timeout=10\r\n";
    assert!(answer.contains(lines), "{answer}");
    let upgrade = HeaderValue::from_static("websocket");
    let reply = Reply::status(426).header(header::UPGRADE, upgrade);
    let answer = text(&reply, false);
    assert!(
        answer.contains("\r\nConnection: close, Upgrade\r\n"),
        "{answer}"
    );
}

#[test]
fn code_that_is_not_final_becomes_500() {
    for code in [0, 99, 100, 101, 199, 1000] {
        assert_eq!(Reply::status(code).code(), 500);
        assert!(!Reply::text(code, "").is_upgrade());
    }
}

#[test]
fn handler_cannot_change_the_framing() {
    let keep = HeaderValue::from_static("keep-alive");
    let reply = Reply::text(200, "ab")
        .header(header::CONNECTION, keep)
        .header(header::CONTENT_LENGTH, 99)
        .header(
            header::TRANSFER_ENCODING,
            HeaderValue::from_static("chunked"),
        );
    let answer = text(&reply, false);
    assert_eq!(answer.matches("Connection: ").count(), 1, "{answer}");
    assert!(answer.contains("Content-Length: 2\r\n"), "{answer}");
    assert!(!answer.contains("chunked"), "{answer}");
}

#[test]
fn header_replaces_others_of_its_name_except_cookies() {
    let value = HeaderValue::from_static;
    let reply = Reply::text(200, "")
        .header(CONTENT_TYPE, value("text/css"))
        .header(header::SET_COOKIE, value("a=1"))
        .header(header::SET_COOKIE, value("b=2"));
    let answer = text(&reply, false);
    assert_eq!(answer.matches("Content-Type: ").count(), 1, "{answer}");
    assert_eq!(answer.matches("Set-Cookie: ").count(), 2, "{answer}");
}

#[test]
fn page_connects_only_to_its_own_server() {
    let answer = text(&Reply::html("x"), false);
    for part in [
        "default-src 'none'",
        "connect-src 'self';",
        "form-action 'self';",
        "nosniff",
        "no-referrer",
        "no-cache",
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
}

#[test]
fn unavailable_says_when_to_retry() {
    let answer = text(&unavailable(2, "full\n"), false);
    assert!(
        answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\nRetry-After: 2\r\n"), "{answer}");
}

/// Returns the bytes of a body in memory.
fn body(reply: Reply) -> Bytes {
    match reply.into_content(false) {
        Content::Bytes(bytes) => bytes,
        Content::Stream(stream) => panic!("{stream:?}"),
    }
}

#[test]
fn bodies_are_not_copied() {
    static TEXT: &str = "a static text";
    let kind = HeaderValue::from_static("text/css");
    for reply in [
        Reply::text(200, TEXT),
        Reply::html(TEXT),
        Reply::json(200, TEXT),
        Reply::bytes(200, kind.clone(), TEXT),
        Reply::bytes(200, kind.clone(), TEXT.as_bytes()),
    ] {
        assert!(std::ptr::eq(body(reply).as_ptr(), TEXT.as_ptr()));
    }
    let (text, shared) = (String::from(TEXT), Bytes::from(vec![b'x'; 100]));
    let (at, shared_at) = (text.as_ptr(), shared.as_ptr());
    assert!(std::ptr::eq(body(Reply::text(200, text)).as_ptr(), at));
    for _ in 0..2 {
        let reply = Reply::bytes(200, kind.clone(), shared.clone());
        assert!(std::ptr::eq(body(reply).as_ptr(), shared_at));
    }
}

#[test]
fn stream_is_announced_with_its_length() {
    let stream = |code| {
        let kind = HeaderValue::from_static("text/css");
        Reply::stream(code, kind, io::empty(), u64::MAX)
    };
    let answer = text(&stream(200), false);
    let length = "\r\nContent-Length: 18446744073709551615\r\n";
    assert!(answer.contains(length), "{answer}");
    assert!(
        answer.contains("\r\nContent-Type: text/css\r\n"),
        "{answer}"
    );
    for code in [204, 205, 304] {
        let answer = text(&stream(code), false);
        assert!(!answer.contains("1844"), "{answer}");
        assert_eq!(body(stream(code)), "");
    }
}

#[test]
fn page_may_have_any_status() {
    let page = text(&Reply::html("<p>gone").with_status(410), false);
    assert!(page.starts_with("HTTP/1.1 410 Gone\r\n"), "{page}");
    assert!(page.contains("Content-Type: text/html"), "{page}");
    assert!(page.contains(PAGE_POLICY), "{page}");
}

#[test]
fn failure_stays_a_failure() {
    let failed = || Reply::redirect(303, "\r\n");
    for (status, code) in [(200, 500), (404, 500), (503, 503), (101, 500)] {
        assert_eq!(failed().with_status(status).code(), code, "{status}");
    }
    assert!(!failed().subprotocol("x").is_upgrade());
}

/// Clippy counts 128 bytes in an `Err` as too many, and a refusal has a text beside its reply.
#[test]
fn result_with_a_reply_is_small() {
    assert!(size_of::<Reply>() <= 80, "{} bytes", size_of::<Reply>());
}

#[test]
fn header_from_text_is_checked() {
    let made = |name: &str, value: String| Reply::text(200, "ok\n").header(name, value);
    let reply = made("X-Name", "a b".to_owned());
    assert_eq!(
        (reply.code(), reply.header_value("x-name")),
        (200, Some("a b"))
    );
    for (name, value) in [
        ("X-Name", "a\r\nSet-Cookie: b=c"),
        ("X-N ame", "a"),
        ("", "a"),
    ] {
        let reply = made(name, value.to_owned());
        assert_eq!(reply.code(), 500, "{name:?}");
        assert!(reply.failure().is_some_and(|text| !text.contains("b=c")));
        assert!(!text(&reply, false).contains("b=c"));
    }
    assert_eq!(Reply::upgrade().header("X-Name", "\n").code(), 500);
}

#[test]
fn content_type_from_text_is_checked() {
    let script = Reply::bytes(200, "text/javascript", "0");
    assert_eq!(script.header_value("content-type"), Some("text/javascript"));
    for wrong in [
        Reply::bytes(200, "a\nb", "body"),
        Reply::stream(200, "a\nb", std::io::repeat(b'x'), 4),
    ] {
        assert_eq!(wrong.code(), 500);
        assert!(text(&wrong, false).ends_with("\r\n\r\nInternal Server Error\n"));
    }
}
