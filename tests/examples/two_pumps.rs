use tungstenite::Message;

use crate::support::{Example, connect, text};

#[test]
fn two_pumps_echo_a_message() {
    let mut pumps = Example::start("00_two_pumps", &["127.0.0.1:0"]);
    let address = pumps.address();
    let mut client = connect(address, "/");
    client.send(Message::text("one")).unwrap();
    assert_eq!(text(&mut client), "one");
    client.close(None).unwrap();
    pumps.line("client 0: left");
}
