//! The rules of the judge, each with a log that breaks it.

use std::time::Instant;

use crate::judge::{Verdict, judge};
use crate::log::{Event, MemberLog, Node, Outcome, Published};

/// A run with the members `a` and `b` on node 0 and `c` on node 1, written line by line.
#[derive(Default)]
struct Run {
    members: Vec<MemberLog>,
    published: Vec<Published>,
}

impl Run {
    /// Three members that have joined after id 100.
    fn joined() -> Run {
        let mut run = Run::default();
        for (member, node) in [("a", 0), ("b", 0), ("c", 1)] {
            run.members.push(MemberLog {
                member: member.into(),
                topic: "t".into(),
                events: Vec::new(),
            });
            run = run.visit(member, node, None, Some(100));
        }
        run
    }

    fn add(mut self, members: &str, event: &Event) -> Run {
        for log in &mut self.members {
            if members.contains(&log.member) {
                log.events.push(event.clone());
            }
        }
        self
    }

    fn visit(self, member: &str, node: Node, since: Option<u64>, ack: Option<u64>) -> Run {
        let run = self.add(member, &Event::Asked { node, since });
        match ack {
            Some(id) => run.add(member, &Event::Joined { id }),
            None => run,
        }
    }

    fn gets(self, members: &str, id: u64, payload: &str) -> Run {
        let message = Event::Message {
            id,
            payload: payload.into(),
            at: Instant::now(),
        };
        self.add(members, &message)
    }

    fn gap(self, members: &str, first: u64, last: u64) -> Run {
        self.add(members, &Event::Gap { first, last })
    }

    fn publishes(mut self, node: Node, payload: &str, outcome: Outcome) -> Run {
        self.published.push(Published {
            payload: payload.into(),
            topic: "t".into(),
            node,
            batch: 0,
            sent: Instant::now(),
            outcome,
        });
        self
    }

    fn verdict(&self) -> Verdict {
        judge(&self.members, &self.published)
    }

    #[track_caller]
    fn passes(&self) -> Verdict {
        let verdict = self.verdict();
        assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
        verdict
    }

    #[track_caller]
    fn fails(&self, because: &str) {
        let verdict = self.verdict();
        let is_named = verdict.violations.iter().any(|text| text.contains(because));
        assert!(
            is_named,
            "{because:?} is not among {:#?}",
            verdict.violations
        );
    }
}

use Outcome::{Acked, Lost, Refused, Unknown};

#[test]
fn complete_logs_have_no_violation() {
    let run = Run::joined()
        .publishes(0, "one", Acked(101))
        .publishes(1, "two", Acked(102))
        .gets("abc", 101, "one")
        .gets("abc", 102, "two");
    let verdict = run.passes();
    assert_eq!(
        (verdict.acked, verdict.on_one_node, verdict.gaps),
        (2, 0, 0)
    );
    assert_eq!((verdict.expected_at_home, verdict.missed_at_home), (3, 0));
}

#[test]
fn skipped_id_without_a_gap_is_a_violation() {
    let run = Run::joined().publishes(0, "one", Acked(103));
    run.gets("abc", 103, "one")
        .fails("103 (one) came instead of 101");
}

#[test]
fn id_that_goes_back_is_a_violation() {
    let run = Run::joined()
        .publishes(0, "one", Acked(101))
        .publishes(0, "two", Unknown)
        .gets("abc", 101, "one")
        .gets("a", 101, "two");
    run.fails("101 (two) came instead of 102");
}

#[test]
fn gap_that_does_not_continue_the_ids_is_a_violation() {
    Run::joined()
        .gap("a", 102, 103)
        .fails("the gap 102 to 103 came instead of 101");
    Run::joined().gap("a", 101, 100).fails("the gap 101 to 100");
}

#[test]
fn payload_that_comes_twice_is_a_violation() {
    let run = Run::joined()
        .publishes(0, "one", Acked(101))
        .gets("abc", 101, "one");
    let twice = run.gets("b", 102, "one");
    twice.fails("one came twice, as 101 and 102");
}

#[test]
fn payload_with_two_ids_is_a_violation() {
    let run = Run::joined()
        .publishes(0, "one", Unknown)
        .gets("ab", 101, "one")
        .gap("c", 101, 101)
        .gets("c", 102, "one");
    run.fails("one has id");
}

#[test]
fn ack_with_another_id_is_a_violation() {
    let run = Run::joined().publishes(0, "one", Acked(102));
    run.gets("abc", 101, "one")
        .fails("acknowledged as 102 and received as 101");
}

#[test]
fn two_payloads_of_one_id_on_one_node_are_a_violation() {
    let run = Run::joined()
        .publishes(0, "one", Unknown)
        .publishes(0, "two", Unknown)
        .gets("a", 101, "one")
        .gets("b", 101, "two");
    run.fails("101 stands for several payloads");
}

#[test]
fn two_shared_payloads_of_one_id_are_a_violation() {
    let mut run = Run::joined();
    for member in ["d", "e"] {
        run.members.push(MemberLog {
            member: member.into(),
            topic: "t".into(),
            events: Vec::new(),
        });
    }
    let run = run
        .visit("d", 2, None, Some(100))
        .visit("e", 3, None, Some(100))
        .publishes(0, "one", Unknown)
        .publishes(0, "two", Unknown)
        .gets("abc", 101, "one")
        .gets("de", 101, "two");
    run.fails("101 stands for several payloads");
}

#[test]
fn missing_message_is_a_violation_also_at_the_end() {
    let run = Run::joined().publishes(0, "one", Acked(101));
    run.gets("ab", 101, "one")
        .fails("c in t has neither one (101) nor a gap");
}

#[test]
fn message_in_a_gap_is_no_violation() {
    let run = Run::joined()
        .publishes(0, "one", Acked(101))
        .publishes(0, "two", Acked(102))
        .gets("ab", 101, "one")
        .gets("ab", 102, "two")
        .gap("c", 101, 102);
    let verdict = run.passes();
    assert_eq!(
        (verdict.on_one_node, verdict.gaps, verdict.missed_at_home),
        (2, 1, 0)
    );
}

#[test]
fn message_of_before_the_membership_is_not_expected() {
    Run::joined().publishes(0, "one", Acked(100)).passes();
}

/// Both nodes were alone at the same time, and their local ids overlap.
fn two_local_sequences() -> Run {
    Run::joined()
        .publishes(0, "one", Acked(200))
        .publishes(1, "two", Acked(200))
        .gap("abc", 101, 199)
        .gets("ab", 200, "one")
        .gets("c", 200, "two")
}

#[test]
fn local_messages_between_two_gaps_are_no_violation() {
    let verdict = two_local_sequences().gap("abc", 201, 300).passes();
    assert_eq!((verdict.on_one_node, verdict.gaps), (2, 6));
}

#[test]
fn local_messages_without_a_gap_after_them_are_a_violation() {
    let run = two_local_sequences();
    run.gap("ab", 201, 300)
        .fails("c in t on node 1 has two with id 200 instead of one");
}

#[test]
fn local_messages_without_a_gap_before_them_are_a_violation() {
    let run = Run::joined()
        .publishes(0, "one", Acked(101))
        .publishes(1, "two", Acked(101))
        .gets("ab", 101, "one")
        .gets("c", 101, "two")
        .gap("abc", 102, 300);
    run.fails("gaps around it: false");
}

#[test]
fn local_message_is_expected_on_its_own_node() {
    let run = Run::joined()
        .publishes(0, "one", Acked(101))
        .gets("a", 101, "one")
        .gap("c", 101, 101);
    run.fails("b in t has neither one (101) nor a gap");
}

#[test]
fn received_refused_payload_is_a_violation() {
    let run = Run::joined().publishes(0, "one", Refused);
    run.gets("c", 101, "one")
        .fails("one was refused, and received as 101 on nodes {1}");
}

#[test]
fn unpublished_payload_is_a_violation() {
    Run::joined()
        .gets("c", 101, "forged")
        .fails("nobody has published it");
}

#[test]
fn payload_without_an_answer_may_be_received_once_or_never() {
    let run = Run::joined()
        .publishes(0, "one", Unknown)
        .publishes(0, "two", Lost)
        .publishes(0, "three", Lost)
        .gets("abc", 101, "one")
        .gets("abc", 102, "two");
    let verdict = run.passes();
    assert_eq!((verdict.unknown, verdict.lost), (1, 2));
    run.gets("a", 103, "two").fails("two came twice");
}

/// `c` roams to node 0 after id 101.
fn roaming(since: u64, ack: Option<u64>) -> Run {
    Run::joined()
        .publishes(0, "one", Acked(101))
        .publishes(0, "two", Acked(102))
        .gets("abc", 101, "one")
        .gets("ab", 102, "two")
        .add("c", &Event::Left)
        .visit("c", 0, Some(since), ack)
}

#[test]
fn roaming_client_continues_after_its_last_id() {
    roaming(101, Some(102)).gets("c", 102, "two").passes();
    // The connection broke before the ack.
    roaming(101, None).gets("c", 102, "two").passes();
    roaming(101, Some(102)).fails("c in t has neither two (102) nor a gap");
    roaming(101, Some(102))
        .gets("c", 101, "one")
        .fails("one came twice");
}

#[test]
fn wrong_since_is_a_violation() {
    let run = roaming(100, Some(102));
    run.gets("c", 102, "two")
        .fails("sent since 100 after id 102 - 1");
}

/// `c` was on a node that was alone, which assigned the ids 200 and 201, and roams to one that was not.
fn roaming_from_a_local_sequence() -> Run {
    Run::joined()
        .publishes(1, "local", Acked(200))
        .gap("c", 101, 199)
        .gets("c", 200, "local")
        .publishes(0, "one", Acked(101))
        .publishes(0, "two", Acked(102))
        .gets("ab", 101, "one")
        .add("c", &Event::Left)
}

#[test]
fn ack_below_since_is_a_gap() {
    let run = roaming_from_a_local_sequence()
        .visit("c", 0, Some(200), Some(101))
        .gets("abc", 102, "two")
        .gap("ab", 103, 300);
    run.passes();
    // A message came between the beginning of the membership and its ack.
    let run = roaming_from_a_local_sequence()
        .visit("c", 0, Some(200), None)
        .gets("c", 102, "two")
        .add("c", &Event::Joined { id: 102 })
        .gets("ab", 102, "two")
        .gap("ab", 103, 300);
    run.passes();
    // The ids may go back, but a payload may not come again.
    let run = roaming_from_a_local_sequence()
        .visit("c", 0, Some(200), Some(101))
        .gets("abc", 102, "two")
        .gap("ab", 103, 300);
    run.gets("c", 103, "local").fails("local came twice");
}

#[test]
fn messages_after_an_ack_below_since_are_expected() {
    let run = roaming_from_a_local_sequence()
        .visit("c", 0, Some(200), Some(101))
        .gets("ab", 102, "two")
        .gap("ab", 103, 300)
        .gets("c", 103, "two");
    run.fails("103 (two) came instead of 102");
}

/// The connection of node 0 was cut after Redis had carried out the publish, and before the answer.
fn publish_in_doubt() -> Run {
    Run::joined()
        .publishes(0, "one", Acked(200))
        .gap("ab", 101, 199)
        .gets("ab", 200, "one")
        .gets("c", 101, "one")
}

#[test]
fn message_in_doubt_may_be_local_and_shared() {
    let run = publish_in_doubt().gap("abc", 201, 300);
    run.fails("c in t on node 1: the gap 201 to 300");
    let run = publish_in_doubt().gap("ab", 201, 300).gap("c", 102, 300);
    assert_eq!(run.passes().in_doubt, 1);
}

#[test]
fn message_in_doubt_is_received_once_on_each_node() {
    let run = publish_in_doubt().gap("ab", 201, 300).gap("c", 102, 300);
    run.gets("c", 301, "one").fails("one has id");
    let run = publish_in_doubt().gap("ab", 201, 300).gap("c", 102, 300);
    run.gets("a", 301, "one").fails("one came twice");
}
