//! Unit tests of the text, its edits and the document, and the cases with which the page's script is checked too.

use std::env;

use serde_json::{Value, json};

use super::client::{Client, Hello, OutOfSync, PublishedEdit};
use super::document::{AUTHORS, Document, Edit, HISTORY_BYTES, Refusal, Start};
use super::random::Random;
use super::text::{InvalidOp, MAX_LENGTH, MAX_PARTS, Op, Text};
use super::{converge, op};

/// Digits and signs are among them, because a script may take a text for a number.
const LETTERS: [&str; 14] = [
    "a",
    "b",
    "é",
    "\n",
    "漢",
    "🙂",
    "👩‍🚀",
    " ",
    "🇩🇪",
    "0",
    "5",
    "-",
    "-3",
    "1e1",
];

fn any_text(random: &mut Random, max_letters: usize) -> String {
    let length = random.below(max_letters + 1);
    (0..length)
        .map(|_| LETTERS[random.below(LETTERS.len())])
        .collect()
}

/// Returns a random edit of this text: each piece is kept or deleted, with insertions anywhere.
fn any_edit(random: &mut Random, text: &Text) -> Op {
    let mut op = Op::default();
    let mut at = 0;
    while at < text.len() {
        if random.below(3) == 0 {
            op = op.insert(&any_text(random, 3));
        }
        let mut end = (at + 1 + random.below(5)).min(text.len());
        if !text.can_split(end) {
            end += 1;
        }
        op = if random.below(3) == 0 {
            op.delete(end - at)
        } else {
            op.keep(end - at)
        };
        at = end;
    }
    if random.below(3) == 0 {
        op = op.insert(&any_text(random, 3));
    }
    op
}

#[test]
fn concurrent_edits_give_the_same_text_in_both_orders() {
    let mut random = Random::new(1);
    for _ in 0..5000 {
        let text = Text::from(any_text(&mut random, 20).as_str());
        let (a, b) = (any_edit(&mut random, &text), any_edit(&mut random, &text));
        let (a2, b2) = Op::transform(&a, &b).expect("both edits are for this text");
        let apply = |text: &Text, edit: &Op| text.apply(edit).expect("the edit is for this text");
        let one = apply(&apply(&text, &a), &b2);
        let other = apply(&apply(&text, &b), &a2);
        assert_eq!(one, other, "{text:?} {a:?} {b:?}");
        // The result has no unpaired surrogate.
        assert!(String::from_utf16(&one.0).is_ok(), "{text:?} {a:?} {b:?}");
        for place in 0..=text.len() {
            assert!(a.moved(place) <= a.after, "{place} {a:?}");
        }
        assert!(a.caret() <= a.after);
    }
}

#[test]
fn combined_edit_has_the_effect_of_both() {
    let mut random = Random::new(2);
    for _ in 0..5000 {
        let text = Text::from(any_text(&mut random, 20).as_str());
        let a = any_edit(&mut random, &text);
        let apply = |text: &Text, edit: &Op| text.apply(edit).expect("the edit is for this text");
        let after = apply(&text, &a);
        let b = any_edit(&mut random, &after);
        let end = apply(&after, &b);
        let both = a
            .then(&b)
            .expect("the second edit is for the text after the first");
        assert_eq!(apply(&text, &both), end, "{text:?} {a:?} {b:?}");
        assert_eq!(apply(&text, &Op::between(&text, &end)), end);
    }
}

#[test]
fn edit_between_two_texts_splits_no_surrogate_pair() {
    // The surrogate pairs of these texts share one half.
    for (before, after) in [
        ("🙂", "🙃"),
        ("🙂🙂", "🙂"),
        ("a🙂", "a👻"),
        ("\u{1f600}", "\u{2f600}"),
    ] {
        let (before, after) = (Text::from(before), Text::from(after));
        let op = Op::between(&before, &after);
        assert_eq!(before.apply(&op), Ok(after), "{before:?} {op:?}");
    }
}

#[test]
fn edit_that_does_not_fit_the_text_is_refused() {
    let text = Text::from("a🙂b");
    assert_eq!(text.len(), 4);
    assert_eq!(
        text.apply(&Op::default().keep(3)),
        Err(InvalidOp::Length { edit: 3, text: 4 })
    );
    assert_eq!(
        text.apply(&op(&json!([2, "x", 2]))),
        Err(InvalidOp::SplitsPair(2))
    );
    assert_eq!(
        text.apply(&op(&json!([1, -1, 2]))),
        Err(InvalidOp::SplitsPair(2))
    );
    assert_eq!(
        text.apply(&op(&json!([1, -2, "🙃", 1]))),
        Ok(Text::from("a🙃b"))
    );
}

#[test]
fn only_valid_edits_can_be_parsed() {
    let read = op(&json!([1, 1, -2, "x", "y", -1, 4]));
    assert_eq!(
        serde_json::to_value(&read).expect("an edit is always JSON"),
        json!([2, "xy", -3, 4]),
        "a parsed edit is normalized"
    );
    let many = Value::from(vec![1; MAX_PARTS + 1]);
    let long = json!(["x".repeat(MAX_LENGTH + 1)]);
    let invalid = [
        json!([0]),
        json!([1.5]),
        json!([null]),
        json!([[1]]),
        json!([{}]),
        json!({}),
        json!("x"),
        json!([""]),
        json!(["\r"]),
        json!(["\u{0}"]),
        json!(["\u{85}"]),
        json!([MAX_LENGTH + 1]),
        json!([-20_001]),
        json!([u64::MAX]),
        json!([i64::MIN]),
        many,
        long,
    ];
    for json in invalid {
        assert!(
            serde_json::from_value::<Op>(json.clone()).is_err(),
            "{json}"
        );
    }
    assert!(
        serde_json::from_str::<Op>(r#"["\ud83d"]"#).is_err(),
        "an unpaired surrogate"
    );
}

#[test]
fn random_runs_converge_without_lost_or_duplicate_text() {
    let (mut converged, mut failed) = (0, Vec::new());
    let mut events = std::collections::BTreeMap::new();
    for seed in 1..=1000 {
        let outcome = converge::run(seed);
        let repaired = outcome.aside + outcome.corrected;
        let is_good = outcome.texts.len() == 1 && outcome.wrong.is_empty() && repaired == 0;
        if is_good {
            converged += 1;
        } else {
            failed.push((seed, outcome.texts, outcome.wrong, repaired));
        }
        for (event, count) in outcome.events {
            *events.entry(event).or_insert(0) += count;
        }
    }
    assert_eq!(converged, 1000, "{:?}", failed.first());
    for event in [
        "resumed",
        "whole text",
        "already applied",
        "late edit",
        "too old while connected",
        "restart",
    ] {
        assert!(events[event] > 20, "{event}: {events:?}");
    }
}

fn edit(n: u64, revision: u64, parts: Value) -> Edit {
    let op = op(&parts);
    Edit { n, revision, op }
}

/// Applies an edit. Returns false if it was already applied.
fn apply_edit(document: &mut Document, key: &str, edit: &Edit) -> Result<bool, Refusal> {
    let Some(next) = document.prepare(key, edit)? else {
        return Ok(false);
    };
    document.commit(document.revision + 1, key, edit.n, next);
    Ok(true)
}

#[test]
fn document_applies_an_edit_once_within_its_history() {
    let mut document = Document::new(100).with_history_limit(3);
    assert_eq!(document.find_or_add_author("ann", |_| false).0.applied, 0);
    document.find_or_add_author("bob", |_| false);
    assert_eq!(
        apply_edit(&mut document, "ann", &edit(1, 100, json!(["one"]))),
        Ok(true)
    );
    assert_eq!(
        apply_edit(&mut document, "ann", &edit(1, 100, json!(["one"]))),
        Ok(false)
    );
    assert_eq!(
        apply_edit(&mut document, "bob", &edit(1, 100, json!(["two"]))),
        Ok(true)
    );
    assert_eq!(
        document.text.to_string(),
        "onetwo",
        "the text of the first edit is on the left"
    );
    assert_eq!(document.moved(101, 3), Ok(3));
    assert_eq!(
        apply_edit(&mut document, "bob", &edit(2, 103, json!([6]))),
        Err(Refusal::NotYet)
    );
    let wrong = Err(Refusal::Invalid(InvalidOp::Length { edit: 5, text: 6 }));
    assert_eq!(
        apply_edit(&mut document, "bob", &edit(2, 102, json!([5]))),
        wrong
    );
    for n in 2..=3 {
        let kept = edit(n, document.revision, json!([6]));
        assert_eq!(apply_edit(&mut document, "ann", &kept), Ok(true));
    }
    assert_eq!(
        apply_edit(&mut document, "bob", &edit(2, 100, json!(["x"]))),
        Err(Refusal::TooOld)
    );
    assert_eq!(document.start(100, 101), Start::Resume);
    assert_eq!(document.start(100, 100), Start::WholeText);
    assert_eq!(document.start(99, 104), Start::WholeText, "another life");
    assert_eq!(
        document.start(100, 105),
        Start::WholeText,
        "a future revision"
    );
    let full = edit(2, document.revision, json!([6, "x".repeat(MAX_LENGTH - 6)]));
    assert_eq!(apply_edit(&mut document, "bob", &full), Ok(true));
    let more = edit(3, document.revision, json!([MAX_LENGTH, "x"]));
    assert_eq!(
        apply_edit(&mut document, "bob", &more),
        Err(Refusal::TooLong)
    );
}

#[test]
fn history_is_limited_in_bytes() {
    let mut document = Document::new(0);
    document.find_or_add_author("key", |_| true);
    let long = "x".repeat(MAX_LENGTH);
    for n in 0..200 {
        let parts = if n % 2 == 0 {
            json!([long])
        } else {
            json!([-20_000])
        };
        let made = edit(n + 1, n, parts);
        assert_eq!(apply_edit(&mut document, "key", &made), Ok(true));
    }
    let remembered = (0..200).filter(|revision| document.start(0, *revision) == Start::Resume);
    let remembered = remembered.count();
    assert!(
        (remembered - 1) * MAX_LENGTH / 2 <= HISTORY_BYTES && remembered > 90,
        "{remembered}"
    );
}

#[test]
fn only_absent_authors_are_forgotten() {
    let mut document = Document::new(0);
    document.find_or_add_author("key", |_| true);
    for n in 0..AUTHORS {
        document.find_or_add_author(&format!("other {n}"), |number| number == 1);
    }
    assert!(
        document.find_or_add_author("key", |_| false).1,
        "a present author is remembered"
    );
    for n in 0..AUTHORS {
        document.find_or_add_author(&format!("another {n}"), |_| false);
    }
    assert!(
        !document.find_or_add_author("key", |_| false).1,
        "an absent author is forgotten"
    );
}

/// Returns a client that is connected to an empty text.
fn client() -> Client {
    let mut client = Client::default();
    let hello = Hello {
        you: 7,
        life: 100,
        revision: 100,
        text: Some(String::new()),
        known: false,
        ..Hello::default()
    };
    client
        .hello(&hello)
        .expect("a client without a text accepts any hello");
    client
}

/// The hello of a server that has restarted from a file with revision 100.
fn hello_after_restart() -> Hello {
    Hello {
        you: 7,
        life: 900,
        revision: 900,
        text: Some(String::new()),
        known: true,
        applied: 0,
        lives: vec![(100, 100)],
    }
}

#[test]
fn text_that_the_server_lost_is_set_aside() {
    // The edit was published, but the server restarted from an older file.
    let mut ann = client();
    ann.edit(&op(&json!(["mine"])))
        .expect("the edit fits the empty text");
    let sent = ann.next().expect("the edit waits to be sent");
    ann.receive(&PublishedEdit {
        revision: 101,
        by: 7,
        n: sent.n,
        op: sent.op,
    })
    .expect("it is the client's own edit");
    ann.hello(&hello_after_restart())
        .expect("a client accepts the hello of a new life");
    assert_eq!(
        (ann.text.to_string(), &ann.aside[..]),
        (String::new(), &["mine".to_owned()][..])
    );
}

#[test]
fn nothing_is_set_aside_if_the_server_saved_everything() {
    let mut bob = client();
    bob.edit(&op(&json!(["mine"])))
        .expect("the edit fits the empty text");
    let sent = bob.next().expect("the edit waits to be sent");
    bob.edit(&op(&json!([4, "!"])))
        .expect("the edit fits the text of 4 characters");
    let whole = Hello {
        text: Some("mine too".into()),
        applied: sent.n,
        lives: vec![(100, 150)],
        ..hello_after_restart()
    };
    bob.hello(&whole)
        .expect("a client accepts the hello of a new life");
    assert_eq!(
        (bob.text.to_string(), bob.aside.len()),
        ("mine too!".into(), 0)
    );
    let next = bob.next().expect("the second edit waits to be sent");
    assert_eq!(next.op, op(&json!([8, "!"])));
}

#[test]
fn edit_of_a_forgotten_author_is_set_aside() {
    // Nobody knows whether the edit was applied, so it is not sent again.
    let mut eve = client();
    eve.edit(&op(&json!(["mine"])))
        .expect("the edit fits the empty text");
    eve.next().expect("the edit waits to be sent");
    let unknown = Hello {
        text: Some("others'".into()),
        known: false,
        lives: vec![],
        ..hello_after_restart()
    };
    eve.hello(&unknown)
        .expect("a client accepts the hello of a new life");
    assert_eq!(
        (eve.text.to_string(), &eve.aside[..]),
        ("others'".into(), &["mine".to_owned()][..])
    );
    assert!(eve.next().is_none());
}

#[test]
fn refused_edit_is_set_aside() {
    let mut eve = client();
    eve.edit(&op(&json!(["mine"])))
        .expect("the edit fits the empty text");
    eve.next().expect("the edit waits to be sent");
    eve.refused();
    assert_eq!(
        (eve.text.to_string(), &eve.aside[..]),
        (String::new(), &["mine".to_owned()][..])
    );
    assert!(eve.next().is_none());
}

#[test]
fn missing_edit_makes_a_client_out_of_sync() {
    let mut eve = client();
    let later = PublishedEdit {
        revision: eve.revision + 2,
        by: 1,
        n: 1,
        op: op(&json!([])),
    };
    assert_eq!(eve.receive(&later), Err(OutOfSync));
}

#[test]
fn edit_with_too_many_parts_is_sent_coarser() {
    let mut ann = client();
    let text = "ab".repeat(MAX_PARTS);
    ann.edit(&op(&json!([text])))
        .expect("the edit is for this text");
    let sent = ann.next().expect("the edit waits to be sent");
    ann.receive(&PublishedEdit {
        revision: 101,
        by: 7,
        n: 1,
        op: sent.op,
    })
    .expect("it is the next revision");
    let mut every_second = Op::default();
    for _ in 0..MAX_PARTS {
        every_second = every_second.keep(1).delete(1);
    }
    ann.edit(&every_second).expect("the edit is for this text");
    let sent = ann.next().expect("the edit waits to be sent");
    let json = serde_json::to_value(&sent.op).expect("every edit is valid JSON");
    assert!(
        serde_json::from_value::<Op>(json).is_ok(),
        "the server accepts the edit"
    );
    ann.receive(&PublishedEdit {
        revision: 102,
        by: 7,
        n: 2,
        op: sent.op,
    })
    .expect("it is the next revision");
    assert_eq!(ann.text.to_string(), "a".repeat(MAX_PARTS));
    assert_eq!(ann.text, ann.base);
}

/// Returns a test case for the page's script: a text with random edits, and the results of the Rust code.
fn case(seed: u64) -> Value {
    let mut random = Random::new(seed);
    let from = any_text(&mut random, 8);
    let text = Text::from(from.as_str());
    let (a, b) = (any_edit(&mut random, &text), any_edit(&mut random, &text));
    let (a2, b2) = Op::transform(&a, &b).expect("both edits are for this text");
    let apply = |text: &Text, edit: &Op| text.apply(edit).expect("the edit is for this text");
    let after = apply(&text, &a);
    let next = any_edit(&mut random, &after);
    let place = random.below(text.len() + 1);
    let end = apply(&after, &next);
    let merged = apply(&after, &b2);
    let both = a
        .then(&next)
        .expect("the second edit is for the first one's text");
    json!({
        "text": from, "a": a, "b": b, "a2": a2, "b2": b2, "after": after.to_string(),
        "merged": merged.to_string(), "next": next, "both": both,
        "place": place, "moved": a.moved(place), "caret": a.caret(), "end": end.to_string(),
        "between": Op::between(&text, &end),
    })
}

#[test]
fn cases_for_the_script_match_the_rust_code() {
    let cases: String = (1..=200).map(|seed| format!("{}\n", case(seed))).collect();
    if let Ok(path) = env::var("WRITE_CASES") {
        std::fs::write(path, &cases).expect("the file can be written");
    }
    let is_same = cases == include_str!("cases.jsonl");
    assert!(
        is_same,
        "to update the file: WRITE_CASES=tests/examples/collab_editor/cases.jsonl cargo test cases"
    );
}
