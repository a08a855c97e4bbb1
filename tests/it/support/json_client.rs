//! A client of JSON mode.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::client::TestClient;
use super::connect::Connect;

/// One that speaks `standpipe.v1`.
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

    /// The next message, digit by digit.
    #[track_caller]
    pub(crate) fn receive_text(&mut self) -> String {
        self.0.read_message().to_text().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn receive(&mut self) -> Value {
        let text = self.receive_text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Says a command and hears the next message, which has to be its answer.
    #[track_caller]
    pub(crate) fn request(&mut self, command: impl AsRef<str>) -> Value {
        self.send(command);
        self.receive()
    }

    /// A subscription that is there when this returns. Gives the topic's last id.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, topic: &str) -> u64 {
        let ack = self.request(serde_json::json!({"sub": topic, "ref": "sub"}).to_string());
        assert_eq!(ack["ack"], "sub", "{ack}");
        ack["id"].as_u64().unwrap()
    }

    /// It is still there and nothing is on its way to it.
    #[track_caller]
    pub(crate) fn assert_idle(&mut self) {
        let ack = self.request(r#"{"pub":"a topic of nobody","data":0,"ref":"there?"}"#);
        assert_eq!(ack["ack"], "there?", "{ack}");
        assert!(self.0.next_within(Duration::ZERO).is_none());
    }
}
