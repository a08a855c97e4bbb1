//! Messages of every kind and size come back from an echo server unchanged and in order, in both flush modes.

use std::thread;

use standpipe::{Config, Message};

use crate::support::{Frame, Seen, TestServer, op, with_both_flush_modes};

#[test]
fn text_and_binary_come_back_unchanged() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        for text in ["hello", "", "grüße, 世界 🚰", "\0"] {
            client.text(text);
            assert_eq!(client.read_message(), Message::text(text));
        }
        for bytes in [&b"\x00\xff\xc0"[..], b"", b"text"] {
            client.binary(bytes);
            assert_eq!(client.read_message(), Message::binary(bytes.to_vec()));
        }
        client.leave();
    });
}

#[test]
fn frames_are_sent_with_the_shortest_length_form() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config.max_message(1 << 20));
        let mut client = server.connect();
        for size in [
            1,
            124,
            125,
            126,
            127,
            8191,
            8192,
            16_384,
            65_535,
            65_536,
            1 << 20,
        ] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            // Sent by another thread, because the server need not accept a megabyte before some of the echo is read.
            let (send_half, sent) = (client.send_half(), bytes.clone());
            let sender = thread::spawn(move || send_half.binary(&sent));
            // The client checks for the shortest form when it decodes the frame.
            assert!(
                client.read_message() == Message::binary(bytes),
                "{size} bytes"
            );
            sender.join().unwrap();
        }
        client.leave();
    });
}

#[test]
fn ping_between_fragments_is_answered_immediately() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        client.frame(&Frame::new(op::TEXT, "one ").unfinished());
        client.frame(&Frame::new(op::CONTINUATION, "").unfinished());
        client.ping("between");
        let pong = client.next_frame();
        assert_eq!(
            (pong.opcode, &pong.payload[..]),
            (op::PONG, &b"between"[..])
        );
        // A fragment may end inside a UTF-8 character.
        client.frame(&Frame::new(op::CONTINUATION, [0xc3]).unfinished());
        client.frame(&Frame::new(op::CONTINUATION, [0xbc]));
        client.expect_text("one ü");
        client.leave();
    });
}

#[test]
fn pipelined_messages_come_back_in_order() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        let send_half = client.send_half();
        let sender = thread::spawn(move || {
            for hundred in 0..100 {
                let frames =
                    (0..100).map(|i| Frame::new(op::TEXT, format!("{}", hundred * 100 + i)));
                send_half.bytes(frames.flat_map(|frame| frame.bytes()).collect::<Vec<u8>>());
            }
        });
        for i in 0..10_000 {
            client.expect_text(&format!("{i}"));
        }
        sender.join().unwrap();
        client.leave();
    });
}

#[test]
fn single_messages_come_back_a_thousand_times() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        for i in 0..1000 {
            client.text(format!("{i}"));
            client.expect_text(&format!("{i}"));
        }
        client.leave();
    });
}

#[test]
fn frame_may_arrive_one_byte_at_a_time() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        for byte in Frame::new(op::TEXT, "x".repeat(200)).bytes() {
            client.bytes([byte]);
        }
        client.expect_text(&"x".repeat(200));
        client.leave();
    });
}

#[test]
fn only_ping_is_answered_with_its_payload() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut client = server.connect();
        for payload in [&b""[..], b"p", &[0xff; 125]] {
            client.frame(&Frame::new(op::PONG, payload));
            client.ping(payload);
            let pong = client.next_frame();
            assert_eq!((pong.opcode, &pong.payload[..]), (op::PONG, payload));
        }
        client.leave();
    });
}

#[test]
fn last_of_many_pings_is_answered_and_none_twice() {
    with_both_flush_modes(|config| {
        // Small buffers on the way back. A pong may have to wait, and a later pong then replaces it.
        let server = TestServer::echo(config.sndbuf(Some(4096)).unsent(4096));
        let mut client = server.client().small_rcvbuf().connect();
        // The server's rate limit allows no more pings in a row.
        let pings = 200_u32;
        let send_half = client.send_half();
        let payload = |i: u32| [&i.to_be_bytes()[..], &[b'p'; 121]].concat();
        for i in 1..=pings {
            send_half.ping(payload(i));
        }
        send_half.text("after all pings");
        // The pongs arrive in order. Some may be missing, but not the last one.
        let mut answered = 0;
        let mut echoed = false;
        while answered < pings || !echoed {
            let frame = client.next_frame();
            if frame.opcode == op::TEXT {
                echoed = true;
                continue;
            }
            assert_eq!(frame.opcode, op::PONG);
            let number = u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
            assert!(number > answered, "{number} after {answered}");
            assert!(frame.payload == payload(number));
            answered = number;
        }
        client.leave();
    });
}

#[test]
fn clients_receive_only_their_own_echo() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
        let threads: Vec<_> = (clients.into_iter().enumerate())
            .map(|(n, mut client)| {
                thread::spawn(move || {
                    for i in 0..100 {
                        client.text(format!("{n}: {i}"));
                        client.expect_text(&format!("{n}: {i}"));
                    }
                    client.leave();
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn client_that_ends_without_a_close_is_unregistered() {
    with_both_flush_modes(|config| {
        let server = TestServer::echo(config);
        let mut half = server.connect();
        half.text("last words");
        half.expect_text("last words");
        half.end();
        assert!(matches!(half.next(), Seen::Eof | Seen::Reset));
        let partial = server.connect();
        partial.bytes(&Frame::new(op::TEXT, "an incomplete frame").bytes()[..9]);
        partial.reset();
        crate::support::until("both clients are unregistered", || {
            server.handle().clients() == 0
        });
    });
}

#[test]
fn default_message_limit_is_exactly_64_kib() {
    let server = TestServer::echo(Config::default());
    let mut client = server.connect();
    let largest = vec![b'x'; 64 << 10];
    client.binary(&largest);
    assert!(client.read_message() == Message::binary(largest.clone()));
    client.binary([&largest[..], b"x"].concat());
    client.expect_close(1009);
}
