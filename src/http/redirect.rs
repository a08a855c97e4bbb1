//! Redirects, and which locations they may have.

use http::header::{self, HeaderValue};

use super::Reply;

/// The statuses of a redirect (RFC 9110 §15.4).
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

impl Reply {
    /// Returns a redirect to `location`, which may be a path such as `/login` or a whole URL (RFC 9110 §10.2.2).
    ///
    /// | `code` | the client sends | use it |
    /// |---|---|---|
    /// | 303 | GET | after a POST that has done its work, or to a page where the user logs in |
    /// | 307 | the same method and body | for a path that is elsewhere at the moment |
    /// | 308 | the same method and body | for a path that has moved for good; browsers remember it |
    /// | 302, 301 | GET after a POST, in practice | only for old clients; 301 is remembered |
    ///
    /// With any other `code`, and with a location that has a character that no URI has, the client gets a 500, and the
    /// log says so. So no location can add a header. Percent-encode text from elsewhere, including line ends, spaces and
    /// backslashes.
    ///
    /// A location from the client, such as `?next=…`, must be checked by the handler. Otherwise, a link to your site can
    /// lead to any other site. `//evil.example` is such a location: its host is `evil.example`. WebSocket clients do not
    /// follow redirects.
    ///
    /// ```
    /// use standpipe::Reply;
    ///
    /// let after_post = Reply::redirect(303, "/orders/17");
    /// let moved = Reply::redirect(308, "https://www.example.com/");
    /// ```
    pub fn redirect(code: u16, location: &str) -> Reply {
        if !REDIRECTS.contains(&code) {
            return Reply::failed("the status of a redirect is not 301, 302, 303, 307 or 308");
        }
        match HeaderValue::from_str(location) {
            Ok(value) if is_uri_text(location) => {
                Reply::status(code).header(header::LOCATION, value)
            }
            _ => Reply::failed("the location of a redirect is not a URI"),
        }
    }
}

/// Returns whether `text` has only the characters of a URI, and at least one (RFC 3986 §2). Browsers read a backslash as
/// a slash, so it could hide a host.
fn is_uri_text(text: &str) -> bool {
    let in_uri =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    !text.is_empty() && text.bytes().all(in_uri)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::After;

    #[test]
    fn redirect_has_its_status_and_location() {
        for code in REDIRECTS {
            for location in ["/", "../x?y=%0d%0a#z", "https://a.example/b", "//[::1]:80/"] {
                let answer = Reply::redirect(code, location).to_bytes(false, After::Close);
                let answer = String::from_utf8(answer).expect("text");
                assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
                let line = format!("\r\nLocation: {location}\r\n");
                assert!(answer.contains(&line), "{answer}");
            }
        }
    }

    #[test]
    fn invalid_redirect_becomes_500_without_a_location() {
        let mut replies = Vec::new();
        for location in [
            "",
            "/a\r\nSet-Cookie: b=c",
            "/a\nb",
            "/a\0",
            "/a b",
            "/\\evil.example",
            "/ä",
            "/\"",
            "<x>",
            "/\u{7f}",
        ] {
            replies.push(Reply::redirect(303, location));
        }
        for code in [0, 101, 200, 300, 304, 305, 306, 309, 999] {
            replies.push(Reply::redirect(code, "/"));
        }
        for mut reply in replies {
            assert_eq!(reply.code(), 500);
            assert!(!reply.has_header(&header::LOCATION));
            assert!(reply.take_failure().is_some(), "the log says why");
        }
    }
}
