//! What a server answered instead of what a command asked for, as one line of text.

use http::header::LOCATION;
use standpipe::tungstenite::handshake::HandshakeRole;
use standpipe::tungstenite::{Error, HandshakeError};

use super::secure::explain;
use super::terminal::printable;

/// The maximum number of characters shown of an answer's body. A proxy may answer with a whole page.
const MAX: usize = 300;

/// Returns why there is no WebSocket: the status and the body of the answer, or the error.
pub(crate) fn of_handshake<R: HandshakeRole>(error: HandshakeError<R>) -> String {
    match error {
        HandshakeError::Failure(Error::Http(response)) => {
            let location = response.headers().get(LOCATION);
            let location = location.map_or(String::new(), |location| {
                let location = String::from_utf8_lossy(location.as_bytes());
                // The query may contain a token.
                let location = location.split('?').next().unwrap_or_default();
                format!(" to {}", printable(location))
            });
            let body = response.body().as_deref().map_or(String::new(), first_line);
            // The source of a web page explains nothing.
            let body = if body.starts_with('<') { "" } else { &body };
            let colon = if body.is_empty() { "" } else { ": " };
            format!("{}{location}{colon}{body}", response.status())
        }
        HandshakeError::Failure(Error::Io(error)) => {
            explain(&error).unwrap_or_else(|| error.to_string())
        }
        HandshakeError::Failure(error) => printable(&error.to_string()).into_owned(),
        HandshakeError::Interrupted(_) => "the handshake took too long".into(),
    }
}

/// Returns the first line of a body, safe to print.
pub(crate) fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let shown: String = line.unwrap_or_default().chars().take(MAX).collect();
    printable(&shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_line_is_short_and_printable() {
        assert_eq!(
            first_line(b"\r\n  a topic has 1 to 200 bytes\nmore"),
            "a topic has 1 to 200 bytes"
        );
        assert_eq!(first_line(b"\x1b[2J"), "\\u{1b}[2J");
        assert_eq!(first_line(&[b'x'; 1000]).len(), MAX);
        assert_eq!(first_line(b""), "");
    }
}
