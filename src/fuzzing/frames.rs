//! Frames in: guard, assembler and reader, under every way of cutting the stream.

use tungstenite::Message;

use super::Choices;
use crate::config::Config;
use crate::connection::testing::single_threaded::SingleThreaded;

/// Below so many bytes there is no flood of control frames, whose verdict would depend on the clock.
const STREAM: usize = 1100;

const MAX_MESSAGE: usize = 600;

fn config() -> Config {
    Config::default()
        .max_message(MAX_MESSAGE)
        .max_fragments(8)
        .read_buffer(64)
}

/// The first byte says how the rest is cut. Whatever the cut: the same messages, the same verdict, none beyond the limit.
pub fn frames(data: &[u8]) {
    let mut choices = Choices(data);
    let cut = 1 + usize::from(choices.byte());
    let stream = choices.bytes(STREAM);
    let whole = heard(stream, usize::MAX);
    let pieces = heard(stream, cut);
    assert_eq!(whole, pieces, "cut every {cut} bytes {stream:02x?}");
}

/// Every message, and how it ended.
fn heard(stream: &[u8], cut: usize) -> Vec<String> {
    let mut client = SingleThreaded::new(config());
    client.peer_sends(stream, cut);
    let mut heard = Vec::new();
    loop {
        match client.recv() {
            Ok(Some(message)) => {
                assert!(message.len() <= MAX_MESSAGE, "{} bytes", message.len());
                heard.push(format!("{message:?}"));
            }
            end => {
                heard.push(format!("{end:?}"));
                break;
            }
        }
    }
    client.end();
    heard
}

/// Valid messages, fragmented as the input likes, with control frames between: with the guard and without it the same
/// messages come out: those that were sent, each once and in order.
pub fn header_check_differential(data: &[u8]) {
    let mut choices = Choices(data);
    let cut = 1 + usize::from(choices.byte());
    let (mut stream, mut sent) = (Vec::new(), Vec::new());
    while !choices.is_empty() && stream.len() < STREAM {
        let shape = choices.byte();
        if shape & 3 == 3 {
            let payload = choices.bytes(usize::from(choices_length(shape)).min(125));
            frame(
                &mut stream,
                if shape & 4 == 0 { 0x89 } else { 0x8a },
                payload,
            );
            continue;
        }
        let fragments = 1 + usize::from(shape >> 5);
        let mut whole = Vec::new();
        for n in 0..fragments {
            let most = usize::from(choices.byte());
            let payload: Vec<u8> = choices.bytes(most % 70).iter().map(|b| b & 0x7f).collect();
            let opcode = if n > 0 { 0 } else { 1 + (shape & 1) };
            let last = if n + 1 == fragments { 0x80 } else { 0 };
            frame(&mut stream, last | opcode, &payload);
            whole.extend(payload);
        }
        let message = match String::from_utf8(whole) {
            Ok(text) if shape & 1 == 0 => Message::text(text),
            Ok(text) => Message::binary(text.into_bytes()),
            Err(_) => unreachable!("seven bits are ASCII"),
        };
        sent.push(format!("{message:?}"));
    }
    let guarded = heard(&stream, cut);
    let (end, messages) = guarded.split_last().expect("it ends somehow");
    assert_eq!(messages, sent, "it ended with {end}");
    assert_eq!(messages, SingleThreaded::decoded_without_check(&stream));
}

fn choices_length(shape: u8) -> u8 {
    shape >> 3
}

/// A frame as a client sends it.
pub(super) fn frame(stream: &mut Vec<u8>, first: u8, payload: &[u8]) {
    let mask = [0x37, 0xfa, 0x21, first];
    let length = u8::try_from(payload.len()).expect("a short payload");
    assert!(length < 126);
    stream.extend([first, 0x80 | length]);
    stream.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    stream.extend(masked.map(|(byte, mask)| byte ^ mask));
}
