//! The text, its edits and the document by themselves, and the cases to which the page's script is held too.

use std::env;

use serde_json::{Value, json};

use super::client::{Client, Hello, Lost, Told};
use super::document::{AUTHORS, Document, Edit, HISTORY_BYTES, Refusal, Start};
use super::random::Random;
use super::text::{LONGEST, Op, PARTS, Text, Wrong};
use super::{converge, op};

const LETTERS: [&str; 9] = ["a", "b", "é", "\n", "漢", "🙂", "👩‍🚀", " ", "🇩🇪"];

fn any_text(random: &mut Random, most: usize) -> String {
    let length = random.below(most + 1);
    (0..length)
        .map(|_| LETTERS[random.below(LETTERS.len())])
        .collect()
}

/// Any edit of this text: each piece of it kept or deleted, with insertions anywhere.
fn any_edit(random: &mut Random, text: &Text) -> Op {
    let mut op = Op::default();
    let mut at = 0;
    while at < text.len() {
        if random.below(3) == 0 {
            op = op.insert(&any_text(random, 3));
        }
        let mut end = (at + 1 + random.below(5)).min(text.len());
        if !text.may_be_cut(end) {
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
fn edits_made_at_once_give_the_same_text_in_both_orders() {
    let mut random = Random::new(1);
    for _ in 0..5000 {
        let text = Text::from(any_text(&mut random, 20).as_str());
        let (a, b) = (any_edit(&mut random, &text), any_edit(&mut random, &text));
        let (a2, b2) = Op::transform(&a, &b).expect("both are of this text");
        let apply = |text: &Text, edit: &Op| text.apply(edit).expect("it is an edit of this text");
        let one = apply(&apply(&text, &a), &b2);
        let other = apply(&apply(&text, &b), &a2);
        assert_eq!(one, other, "{text:?} {a:?} {b:?}");
        // No half of a pair is anywhere.
        assert!(String::from_utf16(&one.0).is_ok(), "{text:?} {a:?} {b:?}");
        for place in 0..=text.len() {
            assert!(a.moved(place) <= a.after, "{place} {a:?}");
        }
        assert!(a.caret() <= a.after);
    }
}

#[test]
fn two_edits_as_one_do_what_both_do_and_an_edit_is_found_between_two_texts() {
    let mut random = Random::new(2);
    for _ in 0..5000 {
        let text = Text::from(any_text(&mut random, 20).as_str());
        let a = any_edit(&mut random, &text);
        let apply = |text: &Text, edit: &Op| text.apply(edit).expect("it is an edit of this text");
        let after = apply(&text, &a);
        let b = any_edit(&mut random, &after);
        let end = apply(&after, &b);
        let both = a.then(&b).expect("the second is of what the first makes");
        assert_eq!(apply(&text, &both), end, "{text:?} {a:?} {b:?}");
        assert_eq!(apply(&text, &Op::between(&text, &end)), end);
    }
    // Texts whose pairs share a half.
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
fn an_edit_that_is_none_of_the_text_is_refused() {
    let text = Text::from("a🙂b");
    assert_eq!(text.len(), 4);
    assert_eq!(
        text.apply(&Op::default().keep(3)),
        Err(Wrong::Length { edit: 3, text: 4 })
    );
    assert_eq!(text.apply(&op(&json!([2, "x", 2]))), Err(Wrong::Parts(2)));
    assert_eq!(text.apply(&op(&json!([1, -1, 2]))), Err(Wrong::Parts(2)));
    assert_eq!(
        text.apply(&op(&json!([1, -2, "🙃", 1]))),
        Ok(Text::from("a🙃b"))
    );
}

#[test]
fn an_edit_reads_as_it_is_written_and_nothing_else_does() {
    let read = op(&json!([1, 1, -2, "x", "y", -1, 4]));
    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        json!([2, "xy", -3, 4]),
        "as equal edits are"
    );
    let many = Value::from(vec![1; PARTS + 1]);
    let long = json!(["x".repeat(LONGEST + 1)]);
    let wrong = [
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
        json!([LONGEST + 1]),
        json!([-20_001]),
        json!([u64::MAX]),
        json!([i64::MIN]),
        many,
        long,
    ];
    for wrong in wrong {
        assert!(
            serde_json::from_value::<Op>(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
    assert!(
        serde_json::from_str::<Op>(r#"["\ud83d"]"#).is_err(),
        "half a pair"
    );
}

#[test]
fn a_thousand_of_a_thousand_runs_converge_without_loss_and_without_a_double() {
    let (mut converged, mut wrong) = (0, Vec::new());
    let mut happened = std::collections::BTreeMap::new();
    for seed in 1..=1000 {
        let outcome = converge::run(seed);
        let set_right = outcome.aside + outcome.mended;
        let is_good = outcome.texts.len() == 1 && outcome.wrong.is_empty() && set_right == 0;
        if is_good {
            converged += 1;
        } else {
            wrong.push((seed, outcome.texts, outcome.wrong, set_right));
        }
        for (what, count) in outcome.happened {
            *happened.entry(what).or_insert(0) += count;
        }
    }
    assert_eq!(converged, 1000, "{:?}", wrong.first());
    for what in [
        "resumed",
        "took the text anew",
        "known already",
        "late",
        "too old while connected",
        "restarts",
    ] {
        assert!(happened[what] > 20, "{what}: {happened:?}");
    }
}

fn edit(n: u64, revision: u64, parts: Value) -> Edit {
    let op = op(&parts);
    Edit { n, revision, op }
}

/// Makes it the next revision. False: it was one already.
fn make(document: &mut Document, key: &str, edit: &Edit) -> Result<bool, Refusal> {
    let Some(next) = document.judge(key, edit)? else {
        return Ok(false);
    };
    document.commit(document.revision + 1, key, edit.n, next);
    Ok(true)
}

#[test]
fn a_document_makes_an_edit_once_and_knows_how_far_back_it_can_go() {
    let mut document = Document::new(100).remembering(3);
    assert_eq!(document.know("ann", |_| false).0.applied, 0);
    document.know("bob", |_| false);
    assert_eq!(
        make(&mut document, "ann", &edit(1, 100, json!(["one"]))),
        Ok(true)
    );
    assert_eq!(
        make(&mut document, "ann", &edit(1, 100, json!(["one"]))),
        Ok(false)
    );
    assert_eq!(
        make(&mut document, "bob", &edit(1, 100, json!(["two"]))),
        Ok(true)
    );
    assert_eq!(
        document.text.to_string(),
        "onetwo",
        "the first in the order is left"
    );
    assert_eq!(document.moved(101, 3), Ok(3));
    assert_eq!(
        make(&mut document, "bob", &edit(2, 103, json!([6]))),
        Err(Refusal::NotYet)
    );
    let wrong = Err(Refusal::Wrong(Wrong::Length { edit: 5, text: 6 }));
    assert_eq!(make(&mut document, "bob", &edit(2, 102, json!([5]))), wrong);
    for n in 2..=3 {
        let kept = edit(n, document.revision, json!([6]));
        assert_eq!(make(&mut document, "ann", &kept), Ok(true));
    }
    assert_eq!(
        make(&mut document, "bob", &edit(2, 100, json!(["x"]))),
        Err(Refusal::TooOld)
    );
    assert_eq!(document.start(100, 101), Start::Resume);
    assert_eq!(document.start(100, 100), Start::Anew);
    assert_eq!(document.start(99, 104), Start::Anew, "of another life");
    assert_eq!(document.start(100, 105), Start::Anew, "never given");
    let full = edit(2, document.revision, json!([6, "x".repeat(LONGEST - 6)]));
    assert_eq!(make(&mut document, "bob", &full), Ok(true));
    let more = edit(3, document.revision, json!([LONGEST, "x"]));
    assert_eq!(make(&mut document, "bob", &more), Err(Refusal::TooLong));
}

#[test]
fn what_a_document_remembers_has_bounds() {
    let mut document = Document::new(0);
    document.know("key", |_| true);
    let long = "x".repeat(LONGEST);
    for n in 0..200 {
        let parts = if n % 2 == 0 {
            json!([long])
        } else {
            json!([-20_000])
        };
        let made = edit(n + 1, n, parts);
        assert_eq!(make(&mut document, "key", &made), Ok(true));
    }
    let reach = (0..200).filter(|revision| document.start(0, *revision) == Start::Resume);
    let reach = reach.count();
    assert!(
        (reach - 1) * LONGEST / 2 <= HISTORY_BYTES && reach > 90,
        "{reach}"
    );

    for n in 0..AUTHORS {
        document.know(&format!("other {n}"), |number| number == 1);
    }
    assert!(
        document.know("key", |_| false).1,
        "who is here is not forgotten for others"
    );
    for n in 0..AUTHORS {
        document.know(&format!("another {n}"), |_| false);
    }
    assert!(
        !document.know("key", |_| false).1,
        "who is gone is, in the end"
    );
}

/// A client that is connected to an empty text.
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
    client.hello(&hello).unwrap();
    client
}

#[test]
fn what_a_server_has_lost_or_does_not_take_stays_in_sight() {
    // Acknowledged, and then the server came back from a file that is older.
    let mut ann = client();
    ann.edit(&op(&json!(["mine"]))).unwrap();
    let sent = ann.next().unwrap();
    ann.told(&Told {
        revision: 101,
        by: 7,
        n: sent.n,
        op: sent.op,
    })
    .unwrap();
    let again = Hello {
        you: 7,
        life: 900,
        revision: 900,
        text: Some(String::new()),
        known: true,
        applied: 0,
        lives: vec![(100, 100)],
    };
    ann.hello(&again).unwrap();
    assert_eq!(
        (ann.text.to_string(), &ann.aside[..]),
        (String::new(), &["mine".to_owned()][..])
    );

    // It came back with all of it: nothing to see.
    let mut bob = client();
    bob.edit(&op(&json!(["mine"]))).unwrap();
    let sent = bob.next().unwrap();
    bob.edit(&op(&json!([4, "!"]))).unwrap();
    let whole = Hello {
        text: Some("mine too".into()),
        applied: sent.n,
        lives: vec![(100, 150)],
        ..again.clone()
    };
    bob.hello(&whole).unwrap();
    assert_eq!(
        (bob.text.to_string(), bob.aside.len()),
        ("mine too!".into(), 0)
    );
    assert_eq!(bob.next().unwrap().op, op(&json!([8, "!"])));

    // Nobody knows whether it arrived: aside, and not in twice.
    let mut eve = client();
    eve.edit(&op(&json!(["mine"]))).unwrap();
    eve.next().unwrap();
    let unknown = Hello {
        text: Some("others'".into()),
        known: false,
        lives: vec![],
        ..again
    };
    eve.hello(&unknown).unwrap();
    assert_eq!(
        (eve.text.to_string(), &eve.aside[..]),
        ("others'".into(), &["mine".to_owned()][..])
    );
    assert!(eve.next().is_none());

    // Not taken.
    eve.edit(&op(&json!([7, " and mine"]))).unwrap();
    eve.next().unwrap();
    eve.refused();
    assert_eq!(
        (eve.text.to_string().as_str(), eve.aside[1].as_str()),
        ("others'", "others' and mine")
    );
    let beyond = Told {
        revision: eve.revision + 2,
        by: 1,
        n: 1,
        op: op(&json!([7])),
    };
    assert_eq!(eve.told(&beyond), Err(Lost), "one is missing");
}

#[test]
fn an_edit_of_too_many_parts_is_sent_as_a_coarser_one_of_the_same_effect() {
    let mut ann = client();
    let text = "ab".repeat(PARTS);
    ann.edit(&op(&json!([text]))).unwrap();
    let sent = ann.next().unwrap();
    ann.told(&Told {
        revision: 101,
        by: 7,
        n: 1,
        op: sent.op,
    })
    .unwrap();
    let mut every_second = Op::default();
    for _ in 0..PARTS {
        every_second = every_second.keep(1).delete(1);
    }
    ann.edit(&every_second).unwrap();
    let sent = ann.next().unwrap();
    let json = serde_json::to_value(&sent.op).unwrap();
    assert!(
        serde_json::from_value::<Op>(json).is_ok(),
        "a server takes it"
    );
    ann.told(&Told {
        revision: 102,
        by: 7,
        n: 2,
        op: sent.op,
    })
    .unwrap();
    assert_eq!(ann.text.to_string(), "a".repeat(PARTS));
    assert_eq!(ann.text, ann.base);
}

/// One for each seed: what Rust says to a text and its edits, for the browser test to ask the page's script.
fn case(seed: u64) -> Value {
    let mut random = Random::new(seed);
    let from = any_text(&mut random, 8);
    let text = Text::from(from.as_str());
    let (a, b) = (any_edit(&mut random, &text), any_edit(&mut random, &text));
    let (a2, b2) = Op::transform(&a, &b).expect("both are of this text");
    let apply = |text: &Text, edit: &Op| text.apply(edit).expect("it is an edit of this text");
    let after = apply(&text, &a);
    let next = any_edit(&mut random, &after);
    let place = random.below(text.len() + 1);
    let end = after.apply(&next).unwrap();
    json!({
        "text": from, "a": a, "b": b, "a2": a2, "b2": b2, "after": after.to_string(),
        "merged": after.apply(&b2).unwrap().to_string(), "next": next, "both": a.then(&next).unwrap(),
        "place": place, "moved": a.moved(place), "caret": a.caret(), "end": end.to_string(),
        "between": Op::between(&text, &end),
    })
}

#[test]
fn the_cases_for_the_script_are_what_rust_says() {
    let made: String = (1..=200).map(|seed| format!("{}\n", case(seed))).collect();
    if let Ok(path) = env::var("WRITE_CASES") {
        std::fs::write(path, &made).unwrap();
    }
    let is_same = made == include_str!("cases.jsonl");
    assert!(
        is_same,
        "WRITE_CASES=tests/examples/collab_editor/cases.jsonl cargo test cases writes them anew"
    );
}
