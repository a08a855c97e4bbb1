//! The targets `frames` and `header_check_differential`: header check, decoder and reader, with reads of any size.

use crate::message::Message;

use super::Choices;
use crate::config::Config;
use crate::connection::testing::single_threaded::SingleThreaded;
use crate::error::RecvError;

/// The maximum length of a stream. A stream of this length cannot exceed the rate limit for control frames. A longer
/// one could, and the result would then depend on the clock.
const STREAM: usize = 1100;

const MAX_MESSAGE: usize = 600;

fn config() -> Config {
    Config::default()
        .max_message(MAX_MESSAGE)
        .max_fragments(8)
        .read_buffer(64)
}

/// Reads a stream of frames in one piece, in small pieces whose size is the first byte of the input, with receives that
/// give up after each piece, and with streams. The messages and the result must be equal, and no message may exceed the
/// limit.
pub fn frames(data: &[u8]) {
    let mut choices = Choices(data);
    let read_size = 1 + usize::from(choices.byte());
    let stream = choices.bytes(STREAM);
    let whole = received(stream, usize::MAX);
    let pieces = received(stream, read_size);
    assert_eq!(
        whole, pieces,
        "{read_size} bytes in each read: {stream:02x?}"
    );
    let client = SingleThreaded::with_short_waits(config());
    client.peer_sends(stream, read_size);
    let gave_up = received_by(client, SingleThreaded::recv);
    assert_eq!(
        whole, gave_up,
        "receives gave up after each {read_size} bytes: {stream:02x?}"
    );
    let client = SingleThreaded::new(config());
    client.peer_sends(stream, read_size);
    let streamed = received_by(client, |client| client.recv_stream(read_size));
    // A stream finds invalid UTF-8 before the end of its message.
    let is_early = streamed.last().is_some_and(|end| end.contains("1007"));
    let compared = whole.len() - usize::from(is_early);
    assert_eq!(
        whole[..compared],
        streamed[..compared],
        "in parts of {read_size} bytes: {stream:02x?}"
    );
    after_discarded_streams(stream, read_size, &whole);
}

/// Reads every second message as a stream, and drops it after the first part. The other messages must be those of
/// `whole`.
fn after_discarded_streams(stream: &[u8], read_size: usize, whole: &[String]) {
    let mut client = SingleThreaded::new(config());
    client.peer_sends(stream, read_size);
    let (_, messages) = whole.split_last().expect("the last item is the result");
    for pair in messages.chunks(2) {
        // The whole stream may be invalid behind this message, or in its discarded rest, which is not checked.
        let begun = client.recv_one_part(read_size);
        assert!(matches!(begun, Ok(Some(()))), "{begun:?}: {stream:02x?}");
        if let [_, second] = pair {
            let received = client.recv();
            let received = received
                .expect("the message is valid")
                .expect("it was sent");
            assert_eq!(format!("{received:?}"), *second, "{stream:02x?}");
        }
    }
    client.end();
}

fn received(stream: &[u8], read_size: usize) -> Vec<String> {
    let client = SingleThreaded::new(config());
    client.peer_sends(stream, read_size);
    received_by(client, SingleThreaded::recv)
}

/// Returns every message, and then the result with which the stream ended.
fn received_by(
    mut client: SingleThreaded,
    mut recv: impl FnMut(&mut SingleThreaded) -> Result<Option<Message>, RecvError>,
) -> Vec<String> {
    let mut received = Vec::new();
    loop {
        match recv(&mut client) {
            Ok(Some(message)) => {
                assert!(message.len() <= MAX_MESSAGE, "{} bytes", message.len());
                received.push(format!("{message:?}"));
            }
            end => {
                received.push(format!("{end:?}"));
                break;
            }
        }
    }
    client.end();
    received
}

/// Sends valid messages with control frames between their fragments. The input chooses the messages and how they are
/// fragmented. With and without the header check, the received messages must be the sent ones, each once and in order.
pub fn header_check_differential(data: &[u8]) {
    let mut choices = Choices(data);
    let read_size = 1 + usize::from(choices.byte());
    let (mut stream, mut sent) = (Vec::new(), Vec::new());
    while !choices.is_empty() && stream.len() < STREAM {
        let shape = choices.byte();
        if shape & 3 == 3 {
            let payload = choices.bytes(usize::from(control_length(shape)).min(125));
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
            Err(_) => unreachable!("bytes below 0x80 are UTF-8"),
        };
        sent.push(format!("{message:?}"));
    }
    let checked = received(&stream, read_size);
    let (end, messages) = checked.split_last().expect("the last item is the result");
    assert_eq!(messages, sent, "the stream ended with {end}");
    assert_eq!(messages, SingleThreaded::decoded_without_check(&stream));
}

fn control_length(shape: u8) -> u8 {
    shape >> 3
}

/// Appends a frame as a client sends it.
pub(super) fn frame(stream: &mut Vec<u8>, first: u8, payload: &[u8]) {
    let mask = [0x37, 0xfa, 0x21, first];
    let length = u8::try_from(payload.len()).expect("a short payload");
    assert!(length < 126);
    stream.extend([first, 0x80 | length]);
    stream.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    stream.extend(masked.map(|(byte, mask)| byte ^ mask));
}
