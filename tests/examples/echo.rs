use tungstenite::Message;

use crate::support::{Example, close_code, connect, text};

#[test]
fn echo_returns_message_and_closes_with_1001() {
    let mut echo = Example::start("01_echo", &["127.0.0.1:0"]);
    let address = echo.address();
    let mut client = connect(address, "/");
    client.send(Message::text("one")).unwrap();
    assert_eq!(text(&mut client), "one");
    echo.interrupt();
    assert_eq!(close_code(&mut client), 1001);
    assert_eq!(echo.end().last().unwrap(), "drained 1, lost 0");
}
