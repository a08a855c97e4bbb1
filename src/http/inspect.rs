//! What a program can learn about a [`Reply`], for its tests and for handlers that wrap another one.

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::Reply;
use super::content::Content;

impl Reply {
    /// Returns the status, which is 101 for an upgrade.
    ///
    /// ```
    /// use standpipe::Reply;
    ///
    /// assert_eq!(Reply::text(404, "no such room\n").code(), 404);
    /// assert_eq!(Reply::upgrade().code(), 101);
    /// ```
    pub fn code(&self) -> u16 {
        self.code.as_u16()
    }

    /// Returns whether this is an upgrade to WebSocket.
    ///
    /// ```
    /// assert!(standpipe::Reply::upgrade().is_upgrade());
    /// ```
    pub fn is_upgrade(&self) -> bool {
        self.code == StatusCode::SWITCHING_PROTOCOLS
    }

    /// Returns the subprotocol that [`subprotocol`](Self::subprotocol) selects, whether the client offered it or not.
    ///
    /// ```
    /// use standpipe::Reply;
    ///
    /// assert_eq!(Reply::upgrade().subprotocol("chat.v1").selected_subprotocol(), Some("chat.v1"));
    /// ```
    pub fn selected_subprotocol(&self) -> Option<&str> {
        self.rare.as_ref()?.subprotocol.as_deref()
    }

    /// Returns the headers of the handler, in their order. The server adds those that frame the response, `Date`, and
    /// those of CORS.
    ///
    /// ```
    /// use standpipe::{Cookie, Reply, http::header::SET_COOKIE};
    ///
    /// let reply = Reply::status(200).set_cookie(Cookie::new("a", "1")).set_cookie(Cookie::new("b", "2"));
    /// assert_eq!(reply.headers().filter(|(name, _)| *name == SET_COOKIE).count(), 2);
    /// ```
    pub fn headers(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.headers.iter().map(|(name, value)| (name, value))
    }

    /// Returns the first value of a header of the handler, if it is visible ASCII.
    ///
    /// ```
    /// use standpipe::Reply;
    ///
    /// let reply = Reply::json(200, "{}");
    /// assert_eq!(reply.header_value("content-type"), Some("application/json"));
    /// ```
    pub fn header_value(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers();
        let (_, value) = headers.find(|(other, _)| other.as_str().eq_ignore_ascii_case(name))?;
        value.to_str().ok()
    }

    /// Returns the body, or `None` if it is a stream that has not been read.
    ///
    /// ```
    /// use standpipe::Reply;
    ///
    /// assert_eq!(Reply::text(200, "ok\n").body(), Some(&b"ok\n"[..]));
    /// ```
    pub fn body(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Bytes(bytes) => Some(bytes),
            Content::Stream(_) => None,
        }
    }

    /// Returns why the handler could not answer, if this reply was made from an error. The client does not see it.
    ///
    /// ```
    /// use standpipe::Reply;
    ///
    /// let reply = Reply::from_try(|| Ok(Reply::text(200, std::fs::read_to_string("/no/such/file")?)));
    /// assert_eq!(reply.code(), 500);
    /// assert!(reply.failure().expect("reading has failed").contains("No such file"));
    /// ```
    pub fn failure(&self) -> Option<&str> {
        self.rare.as_ref()?.failure.as_deref()
    }
}
