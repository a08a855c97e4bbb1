//! The body of a [`Request`], as a handler reads it.

use std::sync::PoisonError;

use http::{HeaderValue, Version, header};

use super::body::{Body, Framing, Wire};
use super::request::list;
use super::{Reply, Request};

impl Request {
    /// Returns the length of the body in bytes. It is `None` if the request has no `Content-Length`: it has no body, or
    /// a chunked one, whose length is known only at its end.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) -> standpipe::Reply {
    /// use standpipe::Reply;
    ///
    /// if request.content_length().is_some_and(|length| length > 1 << 20) {
    ///     return Reply::status(413);
    /// }
    /// # Reply::status(204)
    /// # }
    /// ```
    pub fn content_length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked => None,
        }
    }

    /// Reads the body, of at most `limit` bytes. This works only once, and only in
    /// [`Handler::request`](crate::Handler::request). A chunked body is returned without its chunks.
    ///
    /// ```
    /// use standpipe::{Reply, Request};
    ///
    /// fn save(request: &mut Request) -> Result<Reply, Reply> {
    ///     let body = request.read_body(64 << 10)?;
    ///     println!("{} bytes", body.len());
    ///     Ok(Reply::status(204))
    /// }
    /// ```
    ///
    /// # Blocking
    /// Waits for the client's bytes. The next 64 KiB, or the rest of the body, must arrive within
    /// [`message_timeout`](crate::Config::message_timeout); otherwise the connection is reset.
    ///
    /// # Errors
    /// Returns the answer for the client:
    /// - 411 if the request has neither `Content-Length` nor a chunked body;
    /// - 413 if the body is larger than `limit`;
    /// - 415 if the body has a `Content-Encoding`, such as `gzip`;
    /// - 400 if the connection ends before the whole body has arrived, if the chunks are not valid, or if the body
    ///   cannot be read any more.
    pub fn read_body(&mut self, limit: usize) -> Result<Vec<u8>, Reply> {
        if self.framing == Framing::None {
            return Err(Reply::status(411));
        }
        if self.is_encoded() {
            let text = "Content-Encoding is not supported\n";
            return Err(Reply::text(415, text).header(
                header::ACCEPT_ENCODING,
                HeaderValue::from_static("identity"),
            ));
        }
        let slot = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        let body = slot
            .as_mut()
            .ok_or_else(|| Reply::text(400, "the body is not available\n"))?;
        body.read(limit)
    }

    /// Returns whether the body has a content coding other than `identity`, which means none (RFC 9110 §8.4).
    fn is_encoded(&self) -> bool {
        let lines = self.headers.get_all(header::CONTENT_ENCODING).into_iter();
        let mut codings = lines.flat_map(|line| list(line.to_str().unwrap_or("?")));
        codings.any(|coding| !coding.eq_ignore_ascii_case("identity"))
    }

    /// Makes the body available, before the handler is asked. `ahead` are the bytes that have been read after the head.
    pub(crate) fn set_body(&mut self, ahead: Vec<u8>, wire: Box<dyn Wire>) {
        let body = Body::new(self.framing, ahead, self.expects_continue(), wire);
        *self.body.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(body));
    }

    /// Takes the body with whatever has not been read, after the handler has answered.
    pub(crate) fn take_body(&mut self) -> Body {
        let slot = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        *slot
            .take()
            .expect("the body was set before the handler was asked")
    }

    /// Returns whether the client may wait for a `100 Continue`. HTTP/1.0 does not know interim responses, so the
    /// expectation is ignored there. Other expectations are ignored too (RFC 9110 §10.1.1).
    fn expects_continue(&self) -> bool {
        self.version == Version::HTTP_11 && self.has_token(header::EXPECT, "100-continue")
    }
}
