//! Three clients and a document in one thread, with everything that a network and people can do, by a seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::client::{Client, Hello, Told};
use super::document::{Document, Edit, Refusal, Start};
use super::random::Random;
use super::text::{Op, Text};

/// Edits that the document remembers: few, so that clients are often too old.
const REMEMBERED: usize = 6;

/// What a run shows at its end.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) texts: BTreeSet<String>,
    /// Characters that are there twice, or that nobody has deleted and that are not there.
    pub(super) wrong: Vec<char>,
    /// Texts that were put aside.
    pub(super) aside: usize,
    /// Edits that came back to their author as others than it had them. What is mended converges too, so this is what
    /// shows that both transform alike.
    pub(super) mended: usize,
    /// How often each thing happened: a test that tries nothing shows nothing.
    pub(super) happened: BTreeMap<&'static str, usize>,
}

enum Down {
    Hello(Hello),
    Told(Told),
    TooOld,
}

#[derive(Default)]
struct Line {
    up: VecDeque<Edit>,
    down: VecDeque<Down>,
}

struct Person {
    key: String,
    client: Client,
    line: Option<Line>,
    /// What lost connections still bring to the server.
    late: VecDeque<Edit>,
    greeted: bool,
}

struct World {
    random: Random,
    document: Document,
    /// All edits in their order, as the topic's history would have them.
    log: Vec<Told>,
    people: Vec<Person>,
    /// Every character is inserted once in the whole run.
    made: u32,
    deleted: BTreeSet<char>,
    happened: BTreeMap<&'static str, usize>,
}

pub(super) fn run(seed: u64) -> Outcome {
    let person = |n: usize| Person {
        key: format!("key-of-person-{n}"),
        client: Client::default(),
        line: None,
        late: VecDeque::new(),
        greeted: false,
    };
    let mut world = World {
        random: Random::new(seed),
        document: Document::new(1000).remembering(REMEMBERED),
        log: Vec::new(),
        people: (0..3).map(person).collect(),
        made: 0,
        deleted: BTreeSet::new(),
        happened: BTreeMap::new(),
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
    fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    fn step(&mut self) {
        let who = self.random.below(3);
        match self.random.below(100) {
            0..30 => self.edit(who),
            30..48 => self.send(who),
            48..66 => self.deliver_up(who),
            66..86 => self.deliver_down(who),
            86..90 => self.lose(who),
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
        let made = self.people[who].client.edit(&op);
        made.expect("it was made of the text that is there");
        self.count("edits");
    }

    /// Up to three changes at once, with characters that were never there before, some of them pairs of surrogates.
    fn any_edit(&mut self, text: &Text) -> Op {
        let mut op = Op::default().keep(text.len());
        let mut now = text.clone();
        for _ in 0..=self.random.below(3) {
            let cut = self.random.cut(&now);
            let end = if self.random.below(2) == 0 {
                cut
            } else {
                let end = (cut + self.random.below(6)).min(now.len());
                if now.may_be_cut(end) { end } else { end - 1 }
            };
            let mut inserted = String::new();
            for _ in 0..self.random.below(4) {
                self.made += 1;
                let from = if self.random.below(3) == 0 {
                    0x1_f300
                } else {
                    0x4e00
                };
                let made = char::from_u32(from + self.made);
                inserted.push(made.expect("below the surrogates, or a plane above them"));
            }
            let gone = String::from_utf16(&now.0[cut..end]).expect("cut between characters");
            self.deleted.extend(gone.chars());
            let change = Op::default().keep(cut).insert(&inserted);
            let change = change.delete(end - cut).keep(now.len() - end);
            now = now.apply(&change).expect("it is as long as the text");
            op = op.then(&change).expect("it begins where the other ends");
        }
        op
    }

    fn send(&mut self, who: usize) {
        let person = &mut self.people[who];
        let (Some(line), true) = (&mut person.line, person.greeted) else {
            return;
        };
        line.up.extend(person.client.next());
    }

    fn deliver_up(&mut self, who: usize) {
        let line = self.people[who].line.as_mut();
        let Some(edit) = line.and_then(|line| line.up.pop_front()) else {
            return;
        };
        if let Err(refusal) = self.made(who, &edit) {
            assert_eq!(refusal, Refusal::TooOld, "nothing else is sent here");
            if let Some(line) = &mut self.people[who].line {
                line.down.push_back(Down::TooOld);
            }
        }
    }

    /// Of a connection that is lost the server still reads what had arrived, and its answers go nowhere.
    fn deliver_late(&mut self, who: usize) {
        if let Some(edit) = self.people[who].late.pop_front() {
            self.count("late");
            let _ = self.made(who, &edit);
        }
    }

    fn made(&mut self, who: usize, edit: &Edit) -> Result<(), Refusal> {
        let key = self.people[who].key.clone();
        let Some(next) = self.document.judge(&key, edit)? else {
            self.count("known already");
            return Ok(());
        };
        let revision = self.document.revision + 1;
        let (author, _) = self.document.know(&key, |_| true);
        let (by, n, op) = (author.number, edit.n, next.op.clone());
        self.document.commit(revision, &key, n, next);
        let told = Told {
            revision,
            by,
            n,
            op,
        };
        for line in self
            .people
            .iter_mut()
            .filter_map(|person| person.line.as_mut())
        {
            line.down.push_back(Down::Told(told.clone()));
        }
        self.log.push(told);
        Ok(())
    }

    fn deliver_down(&mut self, who: usize) {
        let person = &mut self.people[who];
        let Some(line) = &mut person.line else {
            return;
        };
        match line.down.pop_front() {
            None => return,
            Some(Down::Hello(hello)) => {
                let heard = person.client.hello(&hello);
                heard.expect("the room greets with what it has");
                line.up.extend(person.client.again());
                person.greeted = true;
                return;
            }
            Some(Down::Told(told)) => {
                let heard = person.client.told(&told);
                return heard.expect("the room tells edits that fit, in order");
            }
            Some(Down::TooOld) => {}
        }
        self.count("too old while connected");
        self.lose(who);
        self.connect(who, true);
    }

    fn lose(&mut self, who: usize) {
        let Some(line) = self.people[who].line.take() else {
            return;
        };
        self.people[who].greeted = false;
        self.count("connections lost");
        let arrives = self.random.below(line.up.len() + 1);
        self.people[who]
            .late
            .extend(line.up.into_iter().take(arrives));
    }

    fn connect(&mut self, who: usize, anew: bool) {
        if self.people[who].line.is_some() {
            return;
        }
        let (author, known) = self.document.know(&self.people[who].key, |_| true);
        let client = &self.people[who].client;
        let (life, since) = if anew {
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
        let mut line = Line::default();
        line.down.push_back(Down::Hello(hello));
        if resumes {
            let missed = self.log.iter().filter(|told| told.revision > since);
            line.down.extend(missed.cloned().map(Down::Told));
        }
        self.people[who].line = Some(line);
        self.count(if resumes {
            "resumed"
        } else {
            "took the text anew"
        });
    }

    /// Ends the server as Ctrl-C does, and begins it again with what was saved.
    fn restart(&mut self) {
        for who in 0..3 {
            self.lose(who);
            // Connections do not outlive the process.
            self.people[who].late.clear();
        }
        let revision = self.document.revision + 1000;
        let saved = serde_json::to_string(&self.document.saved())
            .expect("what is saved has no keys but words");
        let saved = serde_json::from_str(&saved).expect("what was written is read");
        self.document = Document::from_saved(saved, revision).remembering(REMEMBERED);
        self.log.clear();
        self.count("restarts");
    }

    /// Everybody comes back, and everything arrives.
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
                let line = person.line.as_ref();
                person.late.is_empty()
                    && line.is_some_and(|line| line.up.is_empty() && line.down.is_empty())
                    && person.client.sent.is_none()
                    && person.client.typed.is_none()
            };
            if self.people.iter().all(is_quiet) {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn outcome(self) -> Outcome {
        let text = self.document.text.to_string();
        let mut found: BTreeMap<char, usize> = BTreeMap::new();
        for c in text.chars() {
            *found.entry(c).or_default() += 1;
        }
        let inserted = (1..=self.made).flat_map(|n| [0x1_f300 + n, 0x4e00 + n]);
        let wrong = inserted.filter_map(char::from_u32).filter(|c| {
            let count = found.get(c).copied().unwrap_or(0);
            count > 1
        });
        let mut wrong: Vec<char> = wrong.collect();
        // Each number is one of the two characters.
        for n in 1..=self.made {
            let both = [0x1_f300 + n, 0x4e00 + n];
            let both = both.map(|c| char::from_u32(c).expect("it was inserted as one"));
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
        let mended = self.people.iter().map(|person| person.client.mended).sum();
        Outcome {
            texts,
            mended,
            wrong,
            aside,
            happened: self.happened,
        }
    }
}
