//! A simulation with three clients and a document in one thread. A seed decides what the people and the network do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::client::{Client, Hello, PublishedEdit};
use super::document::{Document, Edit, Refusal, Start};
use super::random::Random;
use super::text::{Op, Text};

/// Number of edits in the document's history. It is small, so that clients are often too old.
const HISTORY_LIMIT: usize = 6;

/// The result of a run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// All different texts at the end. There must be only one.
    pub(super) texts: BTreeSet<String>,
    /// Characters that occur twice, or that are missing although nobody has deleted them.
    pub(super) wrong: Vec<char>,
    /// Number of texts that were set aside.
    pub(super) aside: usize,
    /// Number of edits that came back to their author changed. The clients converge in spite of such corrections, so
    /// only this number shows whether client and server transform alike.
    pub(super) corrected: usize,
    /// How often each event happened, so that a test can check that a run is not trivial.
    pub(super) events: BTreeMap<&'static str, usize>,
}

/// A message from the server.
enum Down {
    Hello(Hello),
    Edit(PublishedEdit),
    TooOld,
}

#[derive(Default)]
struct Connection {
    up: VecDeque<Edit>,
    down: VecDeque<Down>,
}

struct Person {
    key: String,
    client: Client,
    connection: Option<Connection>,
    /// Edits from broken connections that still arrive at the server.
    late: VecDeque<Edit>,
    /// Whether the hello has arrived on this connection.
    is_ready: bool,
}

struct World {
    random: Random,
    document: Document,
    /// All published edits, like the topic's history.
    log: Vec<PublishedEdit>,
    people: Vec<Person>,
    /// Number of inserted characters. Each of them is different.
    inserted: u32,
    deleted: BTreeSet<char>,
    events: BTreeMap<&'static str, usize>,
}

pub(super) fn run(seed: u64) -> Outcome {
    let person = |n: usize| Person {
        key: format!("key-of-person-{n}"),
        client: Client::default(),
        connection: None,
        late: VecDeque::new(),
        is_ready: false,
    };
    let mut world = World {
        random: Random::new(seed),
        document: Document::new(1000).with_history_limit(HISTORY_LIMIT),
        log: Vec::new(),
        people: (0..3).map(person).collect(),
        inserted: 0,
        deleted: BTreeSet::new(),
        events: BTreeMap::new(),
    };
    for who in 0..3 {
        world.connect(who, false);
        world.deliver_down(who);
    }
    for _ in 0..300 {
        world.step();
    }
    world.settle();
    world.outcome()
}

impl World {
    fn count(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }

    fn step(&mut self) {
        let who = self.random.below(3);
        match self.random.below(100) {
            0..30 => self.edit(who),
            30..48 => self.send(who),
            48..66 => self.deliver_up(who),
            66..86 => self.deliver_down(who),
            86..90 => self.break_connection(who),
            90..94 => self.deliver_late(who),
            94..99 => self.connect(who, false),
            _ if self.random.below(3) == 0 => self.restart(),
            _ => {}
        }
    }

    fn edit(&mut self, who: usize) {
        let op = self.any_edit(&self.people[who].client.text.clone());
        if op.after > 400 {
            return;
        }
        let result = self.people[who].client.edit(&op);
        result.expect("the edit was made for the client's text");
        self.count("edit");
    }

    /// Returns an edit with up to three changes. It inserts only characters that were never used before. Some of them
    /// are surrogate pairs.
    fn any_edit(&mut self, text: &Text) -> Op {
        let mut op = Op::default().keep(text.len());
        let mut now = text.clone();
        for _ in 0..=self.random.below(3) {
            let start = self.random.position(&now);
            let end = if self.random.below(2) == 0 {
                start
            } else {
                let end = (start + self.random.below(6)).min(now.len());
                if now.can_split(end) { end } else { end - 1 }
            };
            let mut inserted = String::new();
            for _ in 0..self.random.below(4) {
                self.inserted += 1;
                let base = if self.random.below(3) == 0 {
                    0x1_f300
                } else {
                    0x4e00
                };
                let character = char::from_u32(base + self.inserted);
                inserted.push(character.expect("the number is outside the surrogates"));
            }
            let deleted = String::from_utf16(&now.0[start..end]).expect("no pair is split");
            self.deleted.extend(deleted.chars());
            let change = Op::default().keep(start).insert(&inserted);
            let change = change.delete(end - start).keep(now.len() - end);
            now = now.apply(&change).expect("the change is for this text");
            op = op
                .then(&change)
                .expect("the change is for the text after op");
        }
        op
    }

    fn send(&mut self, who: usize) {
        let person = &mut self.people[who];
        let (Some(connection), true) = (&mut person.connection, person.is_ready) else {
            return;
        };
        connection.up.extend(person.client.next());
    }

    fn deliver_up(&mut self, who: usize) {
        let connection = self.people[who].connection.as_mut();
        let Some(edit) = connection.and_then(|connection| connection.up.pop_front()) else {
            return;
        };
        if let Err(refusal) = self.apply(who, &edit) {
            assert_eq!(refusal, Refusal::TooOld, "all edits are valid");
            if let Some(connection) = &mut self.people[who].connection {
                connection.down.push_back(Down::TooOld);
            }
        }
    }

    /// Delivers an edit from a broken connection. The server's answer reaches nobody.
    fn deliver_late(&mut self, who: usize) {
        if let Some(edit) = self.people[who].late.pop_front() {
            self.count("late edit");
            let _ = self.apply(who, &edit);
        }
    }

    /// Applies an edit in the server and publishes it.
    fn apply(&mut self, who: usize, edit: &Edit) -> Result<(), Refusal> {
        let key = self.people[who].key.clone();
        let Some(next) = self.document.prepare(&key, edit)? else {
            self.count("already applied");
            return Ok(());
        };
        let revision = self.document.revision + 1;
        let (author, _) = self.document.find_or_add_author(&key, |_| true);
        let (by, n, op) = (author.number, edit.n, next.op.clone());
        self.document.commit(revision, &key, n, next);
        let published = PublishedEdit {
            revision,
            by,
            n,
            op,
        };
        for connection in self
            .people
            .iter_mut()
            .filter_map(|person| person.connection.as_mut())
        {
            connection.down.push_back(Down::Edit(published.clone()));
        }
        self.log.push(published);
        Ok(())
    }

    fn deliver_down(&mut self, who: usize) {
        let person = &mut self.people[who];
        let Some(connection) = &mut person.connection else {
            return;
        };
        match connection.down.pop_front() {
            None => return,
            Some(Down::Hello(hello)) => {
                let result = person.client.hello(&hello);
                result.expect("the hello fits the client's revision");
                connection.up.extend(person.client.pending());
                person.is_ready = true;
                return;
            }
            Some(Down::Edit(edit)) => {
                let result = person.client.receive(&edit);
                return result.expect("the edits fit and are in order");
            }
            Some(Down::TooOld) => {}
        }
        self.count("too old while connected");
        self.break_connection(who);
        self.connect(who, true);
    }

    /// Breaks a connection. Some of the edits on their way still arrive later.
    fn break_connection(&mut self, who: usize) {
        let Some(connection) = self.people[who].connection.take() else {
            return;
        };
        self.people[who].is_ready = false;
        self.count("broken connection");
        let arriving = self.random.below(connection.up.len() + 1);
        self.people[who]
            .late
            .extend(connection.up.into_iter().take(arriving));
    }

    fn connect(&mut self, who: usize, wants_whole_text: bool) {
        if self.people[who].connection.is_some() {
            return;
        }
        let (author, known) = self
            .document
            .find_or_add_author(&self.people[who].key, |_| true);
        let client = &self.people[who].client;
        let (life, since) = if wants_whole_text {
            (0, 0)
        } else {
            (client.life, client.revision)
        };
        let resumes = known && self.document.start(life, since) == Start::Resume;
        let document = &self.document;
        let hello = Hello {
            you: author.number,
            life: document.life,
            revision: document.revision,
            text: (!resumes).then(|| document.text.to_string()),
            applied: author.applied,
            known,
            lives: document.lives.iter().copied().collect(),
        };
        let mut connection = Connection::default();
        connection.down.push_back(Down::Hello(hello));
        if resumes {
            let missed = self.log.iter().filter(|edit| edit.revision > since);
            connection.down.extend(missed.cloned().map(Down::Edit));
        }
        self.people[who].connection = Some(connection);
        self.count(if resumes { "resumed" } else { "whole text" });
    }

    /// Stops the server as Ctrl-C does, and starts it again from the saved document.
    fn restart(&mut self) {
        for who in 0..3 {
            self.break_connection(who);
            // Edits on their way are lost with the process.
            self.people[who].late.clear();
        }
        let revision = self.document.revision + 1000;
        let saved = serde_json::to_string(&self.document.saved())
            .expect("a saved document can be serialized");
        let saved = serde_json::from_str(&saved).expect("the saved document can be parsed");
        self.document = Document::from_saved(saved, revision).with_history_limit(HISTORY_LIMIT);
        self.log.clear();
        self.count("restart");
    }

    /// Reconnects everybody and delivers everything.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            for who in 0..3 {
                self.deliver_late(who);
                self.connect(who, false);
                self.send(who);
                self.deliver_up(who);
                self.deliver_down(who);
            }
            let is_quiet = |person: &Person| {
                let connection = person.connection.as_ref();
                person.late.is_empty()
                    && connection.is_some_and(|it| it.up.is_empty() && it.down.is_empty())
                    && person.client.sent.is_none()
                    && person.client.typed.is_none()
            };
            if self.people.iter().all(is_quiet) {
                return;
            }
        }
        panic!("messages are still being sent after 100,000 rounds");
    }

    fn outcome(self) -> Outcome {
        let text = self.document.text.to_string();
        let mut found: BTreeMap<char, usize> = BTreeMap::new();
        for c in text.chars() {
            *found.entry(c).or_default() += 1;
        }
        let inserted = (1..=self.inserted).flat_map(|n| [0x1_f300 + n, 0x4e00 + n]);
        let wrong = inserted.filter_map(char::from_u32).filter(|c| {
            let count = found.get(c).copied().unwrap_or(0);
            count > 1
        });
        let mut wrong: Vec<char> = wrong.collect();
        // Each number was inserted as one of two characters.
        for n in 1..=self.inserted {
            let both = [0x1_f300 + n, 0x4e00 + n];
            let both =
                both.map(|c| char::from_u32(c).expect("the number is outside the surrogates"));
            let is_there = both.iter().any(|c| found.contains_key(c));
            let is_deleted = both.iter().any(|c| self.deleted.contains(c));
            if !is_there && !is_deleted {
                wrong.push(both[1]);
            }
        }
        let mut texts: BTreeSet<String> = BTreeSet::from([text]);
        texts.extend(
            self.people
                .iter()
                .map(|person| person.client.text.to_string()),
        );
        texts.extend(
            self.people
                .iter()
                .map(|person| person.client.base.to_string()),
        );
        let aside = self
            .people
            .iter()
            .map(|person| person.client.aside.len())
            .sum();
        let corrected = self
            .people
            .iter()
            .map(|person| person.client.corrected)
            .sum();
        Outcome {
            texts,
            corrected,
            wrong,
            aside,
            events: self.events,
        }
    }
}
