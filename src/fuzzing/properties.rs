//! A property test: any messages, fragmented in any way, with control frames between the fragments, arrive unchanged.

use crate::message::Message;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};

use super::frames::frame;
use crate::config::Config;
use crate::connection::testing::single_threaded::SingleThreaded;

/// A message, the offsets at which it is split into fragments, and the pings and pongs before each fragment.
type Sent = (Message, Vec<prop::sample::Index>, Vec<(bool, Vec<u8>)>);

fn sent() -> impl Strategy<Value = Sent> {
    let message = prop_oneof![
        vec(any::<char>(), 0..20).prop_map(|text| Message::text(String::from_iter(text))),
        vec(any::<u8>(), 0..100).prop_map(Message::binary),
    ];
    let control = (any::<bool>(), vec(any::<u8>(), 0..20));
    (
        message,
        vec(any::<prop::sample::Index>(), 0..5),
        vec(control, 0..4),
    )
}

fn stream(all: &[Sent]) -> (Vec<u8>, Vec<Vec<u8>>) {
    let (mut stream, mut pings) = (Vec::new(), Vec::new());
    for (message, cuts, controls) in all {
        let payload = message.clone().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|at| at.index(payload.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(payload.len());
        let (mut from, mut controls) = (0, controls.iter());
        for (n, to) in cuts.iter().enumerate() {
            if let Some((ping, payload)) = controls.next() {
                frame(&mut stream, if *ping { 0x89 } else { 0x8a }, payload);
                pings.extend(ping.then(|| payload.clone()));
            }
            let opcode = match (n, message.is_text()) {
                (0, true) => 1,
                (0, false) => 2,
                _ => 0,
            };
            let last = if n + 1 == cuts.len() { 0x80 } else { 0 };
            frame(&mut stream, last | opcode, &payload[from..*to]);
            from = *to;
        }
    }
    (stream, pings)
}

#[test]
fn messages_arrive_once_and_in_order_between_pings() {
    let cases = Cases {
        cases: 500,
        failure_persistence: None,
        ..Cases::default()
    };
    // Fixed, so that every run tests the same cases.
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let input = (vec(sent(), 0..12), vec(1_usize..200, 1..20));
    TestRunner::new_with_rng(cases, rng)
        .run(&input, |(all, pieces)| {
            let (stream, pings) = stream(&all);
            let mut client = SingleThreaded::new(Config::default().read_buffer(64));
            client.accept_per_call(1 << 20);
            let (mut rest, mut pieces) = (&stream[..], pieces.iter().cycle());
            while !rest.is_empty() {
                let most = pieces.next().copied().unwrap_or(1).min(rest.len());
                let (now, later) = rest.split_at(most);
                client.peer_sends(now, most);
                rest = later;
            }
            let mut left = all.iter().map(|(message, ..)| message);
            while left.len() > 0 {
                // Receives one message, or several that have arrived together.
                let most = if left.len() % 2 == 0 { 1 } else { 7 };
                let received = client.recv_all(most).unwrap_or_default();
                prop_assert!(!received.is_empty() && received.len() <= most);
                for message in &received {
                    prop_assert_eq!(Some(message), left.next());
                }
            }
            prop_assert!(
                !matches!(client.recv(), Ok(Some(_))),
                "a message arrived twice"
            );
            prop_assert_eq!(client.pongs(), pings);
            client.end();
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}
