//! [`Message`]: a text or binary message. [`Text`]: the text of one.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::str::Utf8Error;

use bytes::Bytes;
use tungstenite::Utf8Bytes;

/// A text or binary message (RFC 6455 §5.6). Cloning it is cheap: all clones share the bytes.
///
/// There is no variant for control frames, because the server sends them itself. To close a connection, call
/// [`Outbox::close`](crate::Outbox::close).
///
/// ```
/// use standpipe::{Bytes, Message};
///
/// let text = Message::from("hello");
/// assert_eq!(text.to_text(), Ok("hello"));
/// let binary = Message::from(Bytes::from_static(&[0xff, 2]));
/// assert!(binary.to_text().is_err());
/// match binary {
///     Message::Text(text) => println!("{text}"),
///     Message::Binary(bytes) => println!("{} bytes", bytes.len()),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A text message.
    Text(Text),
    /// A binary message.
    Binary(Bytes),
}

impl Message {
    /// Returns a text message. A `String` is not copied.
    ///
    /// ```
    /// assert!(standpipe::Message::text("hello").is_text());
    /// ```
    pub fn text(text: impl Into<Text>) -> Message {
        Message::Text(text.into())
    }

    /// Returns a binary message. A `Vec<u8>` is not copied.
    ///
    /// ```
    /// assert!(standpipe::Message::binary(vec![1, 2, 3]).is_binary());
    /// ```
    pub fn binary(bytes: impl Into<Bytes>) -> Message {
        Message::Binary(bytes.into())
    }

    /// Returns whether this is a text message.
    ///
    /// ```
    /// assert!(!standpipe::Message::binary(vec![1]).is_text());
    /// ```
    pub fn is_text(&self) -> bool {
        matches!(self, Message::Text(_))
    }

    /// Returns whether this is a binary message.
    ///
    /// ```
    /// assert!(!standpipe::Message::text("a").is_binary());
    /// ```
    pub fn is_binary(&self) -> bool {
        matches!(self, Message::Binary(_))
    }

    /// Returns the size of the payload in bytes.
    ///
    /// ```
    /// assert_eq!(standpipe::Message::text("é").len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Returns whether the payload is empty.
    ///
    /// ```
    /// assert!(standpipe::Message::text("").is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the payload.
    ///
    /// ```
    /// assert_eq!(standpipe::Message::text("hi").as_bytes(), b"hi");
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Returns the payload without a copy.
    ///
    /// ```
    /// assert_eq!(standpipe::Message::text("hi").into_bytes(), "hi");
    /// ```
    pub fn into_bytes(self) -> Bytes {
        match self {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes,
        }
    }

    /// Returns the payload as text.
    ///
    /// # Errors
    /// Fails if this is a binary message that is not valid UTF-8.
    ///
    /// ```
    /// assert_eq!(standpipe::Message::binary("hi").to_text(), Ok("hi"));
    /// ```
    pub fn to_text(&self) -> Result<&str, Utf8Error> {
        match self {
            Message::Text(text) => Ok(text),
            Message::Binary(bytes) => std::str::from_utf8(bytes),
        }
    }
}

/// Shows a text message as its text, and a binary one as its size.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Text(text) => f.write_str(text),
            Message::Binary(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

/// A text that shares its bytes with its clones. It dereferences to `str`.
///
/// ```
/// use standpipe::Text;
///
/// let text = Text::from(String::from("a message"));
/// assert!(text.starts_with("a "));
/// assert_eq!(text.clone(), "a message");
/// assert!(Text::try_from(vec![0xff]).is_err());
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Utf8Bytes);

impl Text {
    /// Returns a text that is not copied, and needs no allocation.
    ///
    /// ```
    /// assert_eq!(standpipe::Text::from_static("pong"), "pong");
    /// ```
    pub const fn from_static(text: &'static str) -> Text {
        Text(Utf8Bytes::from_static(text))
    }

    /// Returns the text.
    ///
    /// ```
    /// assert_eq!(standpipe::Text::from("a").as_str(), "a");
    /// ```
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<Bytes> for Text {
    fn as_ref(&self) -> &Bytes {
        self.0.as_ref()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text.into())
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Text {
        Text::from(text.as_str())
    }
}

impl TryFrom<Bytes> for Text {
    type Error = Utf8Error;

    fn try_from(bytes: Bytes) -> Result<Text, Utf8Error> {
        Utf8Bytes::try_from(bytes).map(Text)
    }
}

impl TryFrom<Vec<u8>> for Text {
    type Error = Utf8Error;

    fn try_from(bytes: Vec<u8>) -> Result<Text, Utf8Error> {
        Text::try_from(Bytes::from(bytes))
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Bytes {
        text.0.into()
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.as_str().to_owned()
    }
}

/// Converts each of these types into a text message, or into a binary one.
macro_rules! message_from {
    ($($type:ty => $kind:ident),*) => {
        $(impl From<$type> for Message {
            fn from(payload: $type) -> Message {
                Message::$kind(payload.into())
            }
        })*
    };
}

message_from!(Text => Text, String => Text, &str => Text, &String => Text);
message_from!(Bytes => Binary, Vec<u8> => Binary);

impl From<&[u8]> for Message {
    fn from(payload: &[u8]) -> Message {
        Message::Binary(Bytes::copy_from_slice(payload))
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(payload: &[u8; N]) -> Message {
        Message::from(payload.as_slice())
    }
}

impl<const N: usize> From<[u8; N]> for Message {
    fn from(payload: [u8; N]) -> Message {
        Message::from(payload.as_slice())
    }
}

impl From<Cow<'_, str>> for Message {
    fn from(text: Cow<'_, str>) -> Message {
        match text {
            Cow::Borrowed(text) => Message::from(text),
            Cow::Owned(text) => Message::from(text),
        }
    }
}

impl From<Message> for tungstenite::Message {
    fn from(message: Message) -> tungstenite::Message {
        match message {
            Message::Text(text) => tungstenite::Message::Text(text.0),
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
        }
    }
}

/// Fails for a control frame, and then returns it.
impl TryFrom<tungstenite::Message> for Message {
    type Error = tungstenite::Message;

    fn try_from(message: tungstenite::Message) -> Result<Message, tungstenite::Message> {
        match message {
            tungstenite::Message::Text(text) => Ok(Message::Text(Text(text))),
            tungstenite::Message::Binary(bytes) => Ok(Message::Binary(bytes)),
            control => Err(control),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_share_the_bytes() {
        let bytes = Bytes::from(vec![b'a'; 100]);
        let text = Text::try_from(bytes.clone()).expect("ASCII is UTF-8");
        let message = Message::from(text.clone());
        let other = tungstenite::Message::from(message.clone());
        let back = Message::try_from(other).expect("it is no control frame");
        assert_eq!(back, message);
        assert_eq!(back.into_bytes().as_ptr(), bytes.as_ptr());
        let payload = Message::from(vec![7; 9]);
        let at = payload.as_bytes().as_ptr();
        assert_eq!(payload.clone().into_bytes().as_ptr(), at);
    }

    #[test]
    fn control_frame_is_given_back() {
        let ping = tungstenite::Message::Ping(Bytes::from_static(b"x"));
        assert_eq!(Message::try_from(ping.clone()), Err(ping));
    }

    #[test]
    fn literals_become_messages() {
        assert_eq!(Message::from(b"ab"), Message::binary("ab"));
        assert_eq!(Message::from([1_u8, 2]), Message::binary(vec![1, 2]));
        let lossy = String::from_utf8_lossy(b"a\xff");
        assert_eq!(Message::from(lossy), Message::text("a\u{fffd}"));
    }

    #[test]
    fn binary_message_is_shown_as_its_size() {
        assert_eq!(Message::binary(vec![0xff; 3]).to_string(), "3 bytes");
        assert_eq!(Message::text("a\nb").to_string(), "a\nb");
    }
}
