//! What a [`Request`] has to show who sent it: cookies (RFC 6265) and a bearer token (RFC 6750).

use http::header;

use super::Request;

impl Request {
    /// Returns the value of the cookie `name`, as the client sent it: with its quotes, if it has any.
    ///
    /// If the client has several cookies of this name, for different paths, the first is that of the longest path (RFC
    /// 6265 §5.4). A cookie proves nothing about the page that caused the request, so a handler that trusts cookies
    /// relies on the check of `Origin` (see [`has_allowed_origin`](Request::has_allowed_origin)). Other servers of the
    /// same host can set cookies too. A value that is not UTF-8 is skipped.
    ///
    /// ```
    /// use standpipe::{Reply, Request};
    ///
    /// fn user(request: &Request) -> Result<&str, Reply> {
    ///     match request.cookie("session") {
    ///         Some("8c1f") => Ok("ann"),
    ///         _ => Err(Reply::redirect(303, "/login")),
    ///     }
    /// }
    /// ```
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.headers.get_all(header::COOKIE).into_iter();
        let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let values = pairs.filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (key, value) = (&pair[..at], &pair[at + 1..]);
            (!name.is_empty() && key.trim_ascii() == name.as_bytes()).then_some(value.trim_ascii())
        });
        values
            .filter_map(|value| std::str::from_utf8(value).ok())
            .next()
    }

    /// Returns the token of `Authorization: Bearer TOKEN` (RFC 6750 §2.1). The case of `Bearer` does not matter.
    ///
    /// The token is not empty. Compare it in constant time if a stranger could guess it byte by byte. Its characters are
    /// not restricted to those of the RFC, because a program knows only its own tokens. A browser cannot send this
    /// header with a WebSocket handshake; a page can offer the token as a subprotocol instead.
    ///
    /// ```
    /// use standpipe::http::header::WWW_AUTHENTICATE;
    /// use standpipe::{Reply, Request};
    ///
    /// fn check(request: &Request, is_valid: impl Fn(&str) -> bool) -> Result<(), Reply> {
    ///     match request.bearer_token() {
    ///         Some(token) if is_valid(token) => Ok(()),
    ///         _ => Err(Reply::status(401).header(WWW_AUTHENTICATE, "Bearer")),
    ///     }
    /// }
    /// ```
    pub fn bearer_token(&self) -> Option<&str> {
        let value = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim_matches(' ');
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
        is_bearer.then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::http1::{Peer, Request, read_head};

    fn request(authorization: &[u8]) -> Option<Request> {
        let head = [
            b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: ",
            authorization,
            b"\r\n\r\n",
        ]
        .concat();
        let read = read_head(&mut &head[..], Vec::new(), Peer::Unix);
        read.ok().map(|(request, _)| request)
    }

    #[test]
    fn only_a_bearer_token_is_returned() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bEARER abc==", Some("abc==")),
            ("Bearer   abc  ", Some("abc")),
            ("Bearer a b", Some("a b")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer\tabc", None),
            ("Bearerabc", None),
            ("Basic YTpi", None),
            ("XBearer abc", None),
            ("", None),
            ("abc", None),
        ] {
            let request = request(value.as_bytes()).expect("a request");
            assert_eq!(request.bearer_token(), token, "{value:?}");
        }
        let request = request(b"Bearer \xff").expect("a request");
        assert_eq!(request.bearer_token(), None, "not ASCII");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_valid_token_is_returned(
            scheme in "[Bb][Ee][Aa][Rr][Ee][Rr]",
            spaces in " {1,4}",
            token in "[A-Za-z0-9._~+/-]{1,40}={0,2}",
        ) {
            let request = request([scheme, spaces, token.clone()].concat().as_bytes());
            let request = request.expect("a request");
            prop_assert_eq!(request.bearer_token(), Some(&*token));
        }

        #[test]
        fn any_authorization_is_read_safely(value in prop::collection::vec(any::<u8>(), 0..40)) {
            // A value with a control character is refused with its head.
            if let Some(request) = request(&[b"Bearer ", &value[..]].concat())
                && let Some(token) = request.bearer_token() {
                    prop_assert!(!token.is_empty() && token.trim_matches(' ') == token);
                    prop_assert!(value.windows(token.len()).any(|part| part == token.as_bytes()));
                }
        }
    }
}
