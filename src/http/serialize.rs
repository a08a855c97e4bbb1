//! How a [`Reply`] is written as an HTTP response.

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, CONTENT_TYPE, HeaderName, HeaderValue};

use super::Reply;
use super::content::Content;
use super::response::{After, Head, is_framing};

impl Reply {
    /// Returns the subprotocol that the handler selected, and the headers for the 101.
    pub(super) fn into_upgrade(self) -> (Option<String>, Vec<(HeaderName, HeaderValue)>) {
        let subprotocol = self.rare.and_then(|rare| rare.subprotocol);
        (subprotocol, self.headers)
    }

    /// Returns the whole response, if its body is in memory. With `head_only`, it has the same headers but no body, as
    /// for a HEAD request (RFC 9110 §9.3.2).
    pub(crate) fn to_bytes(&self, head_only: bool, after: After) -> Vec<u8> {
        let mut bytes = self.head(after);
        match &self.content {
            Content::Bytes(body) if !head_only && self.may_have_body() => {
                bytes.extend_from_slice(body);
            }
            _ => {}
        }
        bytes
    }

    /// Returns the response without its body.
    pub(crate) fn head(&self, after: After) -> Vec<u8> {
        debug_assert!(!self.is_upgrade(), "`accept` writes the 101");
        let mut head = Head::new(self.code, &self.headers);
        let has_content = !matches!(self.code, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        for (name, value) in &self.headers {
            if !is_framing(name) && (has_content || *name != CONTENT_TYPE) {
                head.line(name, value);
            }
        }
        // A 204 has no Content-Length, and a 304 needs none (RFC 9110 §8.6, §15.4.5).
        if has_content {
            let length = if self.may_have_body() {
                self.content.length()
            } else {
                0
            };
            head.line(&header::CONTENT_LENGTH, &HeaderValue::from(length));
        }
        head.connection(after, self.has_header(&header::UPGRADE));
        head.end()
    }

    /// Returns the body that is sent.
    pub(crate) fn into_content(self, head_only: bool) -> Content {
        if !head_only && self.may_have_body() {
            self.content
        } else {
            Content::Bytes(Bytes::new())
        }
    }

    /// Returns whether a response with this status has a body (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
    fn may_have_body(&self) -> bool {
        let empty = [
            StatusCode::NO_CONTENT,
            StatusCode::RESET_CONTENT,
            StatusCode::NOT_MODIFIED,
        ];
        !empty.contains(&self.code)
    }
}
