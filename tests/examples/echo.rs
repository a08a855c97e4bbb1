use tungstenite::Message;

use crate::support::{Example, close_code, connect, text};

#[test]
fn echo_sends_back_what_comes_and_says_goodbye() {
    let mut echo = Example::start("01_echo", &["127.0.0.1:0"]);
    let address = echo.address();
    let mut client = connect(address, "/");
    client.send(Message::text("one")).unwrap();
    assert_eq!(text(&mut client), "one");
    echo.interrupt();
    assert_eq!(close_code(&mut client), 1001);
    assert_eq!(echo.end().last().unwrap(), "drained 1, lost 0");
}
