//! Records and payloads: what is written is read again, and everything else is refused.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    own_node: 7,
    max_message: 1000,
};

/// The highest id that is allowed.
const MAX_ID: u64 = 2_000_000_000_000_000;

fn refused(body: &[u8]) -> Malformed {
    decode(body, &LIMITS).expect_err("the record is not valid")
}

fn refused_payload(payload: impl AsRef<[u8]>) -> Malformed {
    parse(payload.as_ref(), &LIMITS, MAX_ID).expect_err("the payload is not valid")
}

/// Returns the record with one byte replaced.
fn with_byte(at: usize, byte: u8) -> Vec<u8> {
    let mut body = encode(7, 1, &"hello".into());
    body[at] = byte;
    body
}

/// Returns a payload with one record.
fn payload(id: u64, step: u64, count: u64, record: &[u8]) -> Vec<u8> {
    let header = format!("{id} {step} 1700000000000 {count} {} ", record.len());
    [header.as_bytes(), record].concat()
}

fn publications() -> impl Strategy<Value = Publication> {
    let message = prop_oneof![
        any::<String>().prop_map(|text| (Message::text(text), false)),
        vec(any::<u8>(), 0..100).prop_map(|bytes| (Message::binary(bytes), false)),
        any::<String>()
            .prop_map(|text| (Message::text(serde_json::json!([text]).to_string()), true)),
    ];
    let key = proptest::option::of("[^\\p{Cc}]{1,40}");
    (message, key, any::<u64>()).prop_map(|((message, json), key, except)| {
        let mut publication = Publication::from(message);
        publication.json = json;
        publication.key = key.map(Into::into);
        publication.except = Some(except).filter(|&client| client > 0);
        publication
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn record_is_read_as_it_was_written(seq: u64, publication in publications()) {
        prop_assert_eq!(check(&publication, &LIMITS), Ok(()));
        let body = encode(7, seq, &publication);
        prop_assert_eq!(decode(&body, &LIMITS), Ok(Record { node: 7, seq, publication }));
    }

    #[test]
    fn garbage_is_never_taken_for_granted(bytes in vec(any::<u8>(), 0..200), first in "[0-9HJL]?[0-9 ]{0,30}") {
        let _ = decode(&bytes, &LIMITS);
        let _ = decode(&[&[VERSION, MESSAGE], &bytes[..]].concat(), &LIMITS);
        let _ = parse(&bytes, &LIMITS, MAX_ID);
        let _ = parse(&[first.as_bytes(), &bytes].concat(), &LIMITS, MAX_ID);
    }

    #[test]
    fn truncated_payload_is_refused(publication in publications(), part in 0.0..1.0) {
        let whole = payload(5, 1, 1, &encode(7, 1, &publication));
        let part = (whole.len() as f64 * part) as usize;
        prop_assert!(parse(&whole[..part], &LIMITS, MAX_ID).is_err());
    }
}

#[test]
fn excepted_client_counts_on_its_own_hub_only() {
    let publication = Publication::from("hello").except(3);
    for (node, except) in [(7, Some(3)), (8, None)] {
        let record = decode(&encode(node, 1, &publication), &LIMITS).expect("the record is valid");
        assert_eq!((record.node, record.publication.except), (node, except));
    }
}

#[test]
fn unknown_versions_kinds_and_flags_are_refused() {
    assert_eq!(refused(&with_byte(0, 2)), Malformed::UnknownVersion(2));
    assert_eq!(refused(&with_byte(1, b'x')), Malformed::UnknownKind(b'x'));
    assert_eq!(refused(&with_byte(2, TEXT | 8)), Malformed::UnknownFlag(9));
    let other = [b"J\x02".as_slice(), &[0; 8], b"ann"].concat();
    assert_eq!(refused_payload(other), Malformed::UnknownVersion(2));
    assert_eq!(refused_payload("X 1"), Malformed::UnknownPayload);
    assert_eq!(refused_payload(""), Malformed::Truncated);
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let body = encode(7, 1, &Message::binary(vec![0xff, 0xfe]).into());
    assert!(decode(&body, &LIMITS).is_ok(), "binary data is anything");
    let mut as_text = body;
    as_text[2] = TEXT;
    assert_eq!(refused(&as_text), Malformed::NotUtf8);
}

#[test]
fn invalid_json_is_refused() {
    for wrong in [
        "",
        "{",
        "[1,]",
        "nul",
        "1 2",
        "\u{feff}1",
        "\"a\n\"",
        "{\"a\":1}}",
    ] {
        let publication = Publication::from(wrong).json();
        assert_eq!(
            refused(&encode(7, 1, &publication)),
            Malformed::NotJson,
            "{wrong:?}"
        );
        assert_eq!(check(&publication, &LIMITS), Err(Malformed::NotJson));
    }
    for right in ["1e400", r#""\ud800""#, " [ ]\n", r#"{"a":{"a":[null]}}"#] {
        assert!(
            decode(&encode(7, 1, &Publication::from(right).json()), &LIMITS).is_ok(),
            "{right}"
        );
    }
    let mut binary = encode(7, 1, &Message::binary(b"1".to_vec()).into());
    binary[2] |= JSON;
    assert_eq!(refused(&binary), Malformed::BinaryJson);
}

#[test]
fn deeply_nested_json_is_refused() {
    let nested = |depth| Publication::from("[".repeat(depth) + &"]".repeat(depth)).json();
    assert!(decode(&encode(7, 1, &nested(127)), &LIMITS).is_ok());
    assert!(matches!(
        refused(&encode(7, 1, &nested(128))),
        Malformed::Nesting(_)
    ));
    let limits = Limits {
        max_message: 1 << 20,
        ..LIMITS
    };
    let deepest = encode(7, 1, &nested(500_000));
    assert!(matches!(
        decode(&deepest, &limits),
        Err(Malformed::Nesting(_))
    ));
}

#[test]
fn message_above_the_limit_is_refused() {
    let of_size = |size: usize| Publication::from("x".repeat(size));
    assert!(decode(&encode(7, 1, &of_size(1000)), &LIMITS).is_ok());
    let error = Malformed::TooLarge {
        size: 1001,
        max: 1000,
    };
    assert_eq!(refused(&encode(7, 1, &of_size(1001))), error);
    assert_eq!(check(&of_size(1001), &LIMITS), Err(error));
}

#[test]
fn keys_and_names_follow_the_rules_of_clients() {
    for (name, valid) in [
        ("k", true),
        ("", false),
        ("a\tb", false),
        (&"k".repeat(200), true),
        (&"k".repeat(201), false),
    ] {
        let publication = Publication::from("hello").key(name);
        let body = encode(7, 1, &publication);
        assert_eq!(decode(&body, &LIMITS).is_ok(), valid, "{name:?}");
        assert_eq!(check(&publication, &LIMITS).is_ok(), valid, "{name:?}");
        let presence = presence_payload(1, name, true);
        assert_eq!(parse(&presence, &LIMITS, MAX_ID).is_ok(), valid, "{name:?}");
    }
    let not_utf8 = [presence_payload(1, "a", false).as_slice(), b"\xff"].concat();
    assert_eq!(refused_payload(not_utf8), Malformed::NotUtf8);
}

#[test]
fn claimed_lengths_allocate_nothing() {
    let record = encode(7, 1, &"hello".into());
    assert_eq!(
        refused_payload("5 1 0 1 18446744073709551615 x"),
        Malformed::Truncated
    );
    assert_eq!(refused_payload("5 1 0 64 3 x"), Malformed::Truncated);
    let mut key = vec![VERSION, MESSAGE, TEXT | KEY];
    key.extend([0; 10]);
    put_varint(&mut key, u64::MAX);
    assert_eq!(refused(&key), Malformed::Truncated);
    assert!(parse(&payload(5, 1, 1, &record), &LIMITS, MAX_ID).is_ok());
}

#[test]
fn numbers_have_one_form() {
    for wrong in [
        "+5 1 0 1 1 x",
        "5  1 0 1 1 x",
        "5 -1 0 1 1 x",
        "1.79e+15 1 0 1 1 x",
        "99999999999999999999 1 0 1 1 x",
        "H 1 ",
        "H ",
        "H -1",
        "H +1",
        "000000000000000000000000000000",
    ] {
        assert!(
            matches!(
                refused_payload(wrong),
                Malformed::Number | Malformed::UnknownPayload
            ),
            "{wrong}"
        );
    }
    let mut endless = vec![VERSION, MESSAGE, TEXT];
    endless.extend([0; 8]);
    endless.extend([0xff; 20]);
    assert_eq!(refused(&endless), Malformed::Number);
    let mut bytes = Vec::new();
    for number in [0, 127, 128, u64::MAX - 1, u64::MAX] {
        bytes.clear();
        put_varint(&mut bytes, number);
        assert_eq!(Unread(&bytes).varint(), Ok(number));
    }
    assert_eq!(bytes.len(), 10);
    bytes[9] = 2;
    assert_eq!(Unread(&bytes).varint(), Err(Malformed::Number), "65 bits");
}

#[test]
fn ids_of_the_future_are_refused() {
    let record = encode(7, 1, &"hello".into());
    assert!(parse(&payload(MAX_ID, 1, 1, &record), &LIMITS, MAX_ID).is_ok());
    assert_eq!(
        refused_payload(payload(MAX_ID + 1, 1, 1, &record)),
        Malformed::IdTooHigh(MAX_ID + 1)
    );
    assert_eq!(
        refused_payload(payload(MAX_ID, 1, 2, &record)),
        Malformed::IdTooHigh(MAX_ID + 1),
        "the last id counts"
    );
    assert_eq!(
        refused_payload(payload(u64::MAX, 1, 64, &record)),
        Malformed::IdTooHigh(u64::MAX)
    );
    assert_eq!(
        parse(b"H 2000000000000000", &LIMITS, MAX_ID),
        Ok(Payload::Jump { to: MAX_ID })
    );
    assert_eq!(
        refused_payload("H 2000000000000001"),
        Malformed::IdTooHigh(MAX_ID + 1)
    );
    assert_eq!(
        refused_payload(payload(0, 0, 1, &record)),
        Malformed::IdZero
    );
    assert_eq!(refused_payload("H 0"), Malformed::IdZero);
}

#[test]
fn step_is_at_most_the_id() {
    let record = encode(7, 1, &"hello".into());
    assert!(parse(&payload(5, 5, 1, &record), &LIMITS, MAX_ID).is_ok());
    assert_eq!(
        refused_payload(payload(5, 6, 1, &record)),
        Malformed::StepAboveId { step: 6, id: 5 }
    );
}

#[test]
fn number_of_records_is_limited() {
    let record = encode(7, 1, &"hello".into());
    assert_eq!(
        refused_payload(payload(5, 1, 0, &record)),
        Malformed::RecordCount(0)
    );
    assert_eq!(
        refused_payload(payload(5, 1, 65, &record)),
        Malformed::RecordCount(65)
    );
    let mut whole = b"5 1 9 64 ".to_vec();
    for _ in 0..64 {
        whole.extend(format!("{} ", record.len()).bytes());
        whole.extend(&record);
    }
    let Ok(Payload::Messages {
        first_id: 5,
        step: 1,
        at_ms: 9,
        records,
    }) = parse(&whole, &LIMITS, MAX_ID)
    else {
        panic!("64 records are allowed");
    };
    assert_eq!(records.len(), 64);
    whole.push(b' ');
    assert_eq!(refused_payload(whole), Malformed::RecordCount(65));
}

#[test]
fn presence_is_read_as_it_was_written() {
    let name = "ann é".to_owned();
    let joined = parse(&presence_payload(9, &name, true), &LIMITS, MAX_ID);
    assert_eq!(
        joined,
        Ok(Payload::Joined {
            node: 9,
            name: name.clone()
        })
    );
    let left = parse(&presence_payload(9, &name, false), &LIMITS, MAX_ID);
    assert_eq!(left, Ok(Payload::Left { node: 9, name }));
}
