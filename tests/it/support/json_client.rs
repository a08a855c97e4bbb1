//! A client that speaks JSON mode.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::client::TestClient;
use super::connect::Connect;

/// A client that negotiated the subprotocol `standpipe.v1`.
pub(crate) struct JsonClient(pub(crate) TestClient);

impl JsonClient {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> JsonClient {
        JsonClient::at(address, "/ws")
    }

    #[track_caller]
    pub(crate) fn at(address: SocketAddr, path: &str) -> JsonClient {
        let client = Connect::to(address).path(path);
        let (raw, answer) = client
            .header("Sec-WebSocket-Protocol: standpipe.v1")
            .request();
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(
            answer.header("sec-websocket-protocol"),
            Some("standpipe.v1")
        );
        JsonClient(raw)
    }

    #[track_caller]
    pub(crate) fn send(&self, command: impl AsRef<str>) {
        self.0.text(command);
    }

    /// Reads the next message as text, so that a test can compare numbers digit by digit.
    #[track_caller]
    pub(crate) fn receive_text(&mut self) -> String {
        self.0.read_message().to_text().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn receive(&mut self) -> Value {
        let text = self.receive_text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Sends a command and reads the next message, which must be its answer.
    #[track_caller]
    pub(crate) fn request(&mut self, command: impl AsRef<str>) -> Value {
        self.send(command);
        self.receive()
    }

    /// Subscribes, and waits for the acknowledgement. Returns the topic's last id.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, topic: &str) -> u64 {
        let ack = self.request(serde_json::json!({"sub": topic, "ref": "sub"}).to_string());
        assert_eq!(ack["ack"], "sub", "{ack}");
        ack["id"].as_u64().unwrap()
    }

    /// Checks that the client is still connected and that no message is on its way to it.
    #[track_caller]
    pub(crate) fn assert_idle(&mut self) {
        let ack = self.request(r#"{"pub":"a topic without members","data":0,"ref":"idle?"}"#);
        assert_eq!(ack["ack"], "idle?", "{ack}");
        assert!(self.0.next_within(Duration::ZERO).is_none());
    }
}
