//! How errors become replies, so that a handler can use `?`.

use std::error::Error;
use std::fmt::Display;

use super::Reply;

impl Reply {
    /// Calls `answer` and returns its reply, whether it is an `Ok` or an `Err`. So a handler can use `?`:
    ///
    /// - A refusal is an `Err(Reply)`. Methods such as [`Request::read_body`](crate::Request::read_body) and
    ///   [`Request::query_as`](crate::Request::query_as) return the right 4xx in this way.
    /// - An `Option` becomes a refusal by `ok_or_else(|| Reply::status(404))?`.
    /// - An error that the client has caused becomes a 400 by `map_err(Reply::bad_request)?`.
    /// - Every other error becomes a 500 by `?` alone: the server failed. The log has the text of the error at the level
    ///   *warn*, and the client does not get the text.
    ///
    /// ```
    /// use std::fs;
    /// use standpipe::{Connection, Handler, Reply, Request};
    /// use standpipe::http::Method;
    ///
    /// struct App;
    ///
    /// impl Handler for App {
    ///     fn request(&self, request: &mut Request) -> Reply {
    ///         Reply::from_try(|| match request.path() {
    ///             "/ws" => {
    ///                 request.bearer_token().ok_or_else(|| Reply::status(401))?;
    ///                 Ok(Reply::upgrade())
    ///             }
    ///             "/motd" => Ok(Reply::text(200, fs::read_to_string("motd.txt")?)),
    ///             "/sum" if *request.method() == Method::POST => {
    ///                 let body = String::from_utf8(request.read_body(1024)?);
    ///                 let body = body.map_err(Reply::bad_request)?;
    ///                 let numbers: Result<Vec<u32>, _> = body.split_whitespace().map(str::parse).collect();
    ///                 let sum: u32 = numbers.map_err(Reply::bad_request)?.iter().sum();
    ///                 Ok(Reply::text(200, format!("{sum}\n")))
    ///             }
    ///             _ => Err(Reply::status(404)),
    ///         })
    ///     }
    ///
    ///     fn run(&self, conn: &mut Connection) -> standpipe::HandlerResult {
    ///         while conn.recv()?.is_some() {}
    ///         Ok(())
    ///     }
    /// }
    /// ```
    pub fn from_try(answer: impl FnOnce() -> Result<Reply, Reply>) -> Reply {
        answer().unwrap_or_else(|refusal| refusal)
    }

    /// Returns a 400 whose text is `error`. Use it with `map_err`, for an error that the client has caused.
    ///
    /// ```
    /// use standpipe::Reply;
    ///
    /// fn number(text: &str) -> Result<u32, Reply> {
    ///     text.parse().map_err(Reply::bad_request)
    /// }
    /// assert!(number("17").is_ok());
    /// ```
    pub fn bad_request(error: impl Display) -> Reply {
        Reply::text(400, format!("{error}\n"))
    }

    /// Says why the request is refused. The log has the reason in one line at the level *info*, with the number of the
    /// connection, and the client does not get it. Lines with the same status are logged at most once in three seconds.
    /// The connection ends after the reply. An upgrade ignores the reason.
    ///
    /// A text from the client is escaped. The reason must not contain a secret.
    ///
    /// ```
    /// use standpipe::{Reply, Request};
    ///
    /// fn check(request: &Request, expires: u64, now: u64) -> Result<(), Reply> {
    ///     if expires < now {
    ///         return Err(Reply::text(401, "log in again\n").reason("the session has expired"));
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn reason(mut self, reason: impl Into<String>) -> Reply {
        self.rare().reason = Some(reason.into());
        self
    }

    /// Takes out what [`reason`](Self::reason) has set.
    pub(crate) fn take_reason(&mut self) -> Option<String> {
        self.rare.as_mut()?.reason.take()
    }
}

/// A 500 for the client, who does not get the text of the error. The text goes into the log, at the level *warn*.
///
/// ```
/// use standpipe::Reply;
///
/// fn motd() -> Result<Reply, Reply> {
///     let text = std::fs::read_to_string("motd.txt")?;
///     Ok(Reply::text(200, text))
/// }
/// ```
impl<E: Error> From<E> for Reply {
    fn from(error: E) -> Reply {
        Reply::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::http1::After;

    #[test]
    fn result_becomes_its_reply() {
        let ok = Reply::from_try(|| Ok(Reply::status(200)));
        let refused = Reply::from_try(|| Err(Reply::status(403)));
        assert_eq!((ok.code(), refused.code()), (200, 403));
    }

    #[test]
    fn error_becomes_500_with_its_text_for_the_log_only() {
        let mut reply = Reply::from_try(|| {
            Err(io::Error::other("s3cret path"))?;
            Ok(Reply::status(200))
        });
        assert_eq!(reply.take_failure().as_deref(), Some("s3cret path"));
        let answer = String::from_utf8(reply.to_bytes(false, After::Close)).expect("text");
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(!answer.contains("s3cret"), "{answer}");
    }

    #[test]
    fn reason_is_for_the_log_only() {
        let mut reply = Reply::text(401, "log in again\n").reason("s3cret: expired");
        assert_eq!(reply.take_reason().as_deref(), Some("s3cret: expired"));
        let answer = String::from_utf8(reply.to_bytes(false, After::Close)).expect("text");
        assert!(!answer.contains("s3cret"), "{answer}");
        assert_eq!(Reply::status(401).take_reason(), None);
    }

    #[test]
    fn error_of_the_client_becomes_400_with_its_text() {
        let mut reply = Reply::from_try(|| {
            "x".parse::<u8>().map_err(Reply::bad_request)?;
            Ok(Reply::status(200))
        });
        assert_eq!(reply.take_failure(), None);
        let answer = String::from_utf8(reply.to_bytes(false, After::Close)).expect("text");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(
            answer.ends_with("invalid digit found in string\n"),
            "{answer}"
        );
    }
}
