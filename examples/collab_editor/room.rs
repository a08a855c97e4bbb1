//! [`Room`]: a document, who is there, and the two topics that tell them.
//!
//! Its lock is held from judging an edit until it is published, so that the topic's order is the document's: a
//! revision is the topic's id. Neither policy waits for the slow, and nobody reads a socket or a file under the lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use standpipe::{Connection, Envelope, Message, Outbox, Policy, Publication, TopicMessage};
use standpipe::{SubscribeOptions, Subscription, Topic, TopicSettings};

use crate::document::{Document, Edit, HISTORY, Refusal, Saved, Start};
use crate::rooms::MEMORY;
use crate::text::LONGEST;

/// People in one document.
pub(crate) const PEOPLE: usize = 32;
/// Edits that may wait for one of them.
const EDITS: usize = 64;
/// Places of a client's queue: for both lanes, and answers.
pub(crate) const PLACES: usize = EDITS + PEOPLE + 32;

pub(crate) struct Room {
    state: Mutex<State>,
    edits: Topic,
    cursors: Topic,
}

struct State {
    document: Document,
    /// By the number of the author.
    people: BTreeMap<u64, Person>,
    /// The revision that is on the shelf.
    saved: u64,
    /// Since when nobody is there.
    left: Instant,
}

/// Somebody who is there, with a selection in the text as it is now.
struct Person {
    name: String,
    from: usize,
    to: usize,
    outbox: Outbox,
}

/// Who comes, and what of the text it has.
pub(crate) struct Visitor {
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) life: u64,
    pub(crate) since: u64,
}

/// What the two topics of a document are like.
pub(crate) fn settings() -> [(&'static str, TopicSettings); 2] {
    // Without one edit all later ones are wrong: no policy may leave any out, and nobody waits for the slow either. Who
    // is cut has them again from the history.
    let edits = TopicSettings::default()
        .policy(Policy::Disconnect { soft: None })
        .queue(EDITS)
        .history(HISTORY)
        .max_age(MEMORY);
    // An old place is worth nothing. With a key for each person the queue has room for the newest of everybody.
    let cursors = TopicSettings::default()
        .policy(Policy::Conflate)
        .queue(PEOPLE);
    [("*/edits", edits), ("*/cursors", cursors)]
}

impl Room {
    pub(crate) fn new(edits: Topic, cursors: Topic, saved: Option<Saved>) -> Room {
        // Ids grow across restarts, and revisions with them.
        let revision = edits.last_id();
        // A new life is put on the shelf too, so that the next one can say what was kept of it.
        let (document, saved) = match saved {
            Some(saved) => (Document::from_saved(saved, revision), 0),
            None => (Document::new(revision), revision),
        };
        let state = State {
            document,
            people: BTreeMap::new(),
            saved,
            left: Instant::now(),
        };
        Room {
            state: Mutex::new(state),
            edits,
            cursors,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody in: first the hello, then the edits it has not, then those to come.
    ///
    /// # Blocking
    /// For the client's own room, for the edits it has missed.
    pub(crate) fn join(
        self: Arc<Self>,
        conn: &Connection,
        visitor: Visitor,
    ) -> Result<Member, String> {
        let Visitor {
            name,
            key,
            life,
            since,
        } = visitor;
        let outbox = conn.outbox();
        let (author, since, cursors) = {
            let mut state = self.state();
            let State {
                document, people, ..
            } = &mut *state;
            let (author, known) = document.know(&key, |number| people.contains_key(&number));
            if state.people.len() >= PEOPLE && !state.people.contains_key(&author.number) {
                return Err(format!("{PEOPLE} people are here, and no more may come"));
            }
            // Whom we do not know, we cannot tell which edits arrived.
            let resumes = known && state.document.start(life, since) == Start::Resume;
            let document = &state.document;
            let revision = document.revision;
            let mut hello = json!({
                "hello": author.number, "known": known, "applied": author.applied,
                "life": document.life, "rev": revision, "lives": document.lives, "most": LONGEST,
                "people": state.people.iter().filter(|(who, _)| **who != author.number)
                    .map(|(who, person)| person.told(*who, revision)).collect::<Vec<_>>(),
            });
            if !resumes {
                hello["text"] = json!(document.text.to_string());
            }
            // Its queue is empty and there is room. Under the lock, so that nothing is told before it.
            outbox
                .try_send(Message::text(hello.to_string()))
                .map_err(|error| error.to_string())?;
            let cursors = self
                .cursors
                .subscribe(conn.outbox(), SubscribeOptions::new());
            let cursors = cursors.map_err(|error| error.to_string())?;
            let (from, to) = (0, 0);
            let person = Person {
                name,
                from,
                to,
                outbox: outbox.clone(),
            };
            self.tell(
                author.number,
                outbox.number(),
                person.told(author.number, revision),
            );
            if let Some(before) = state.people.insert(author.number, person) {
                // The same page, on a connection that it has given up. So a key has one, and a room a bound.
                before.outbox.close(4001, "you came again");
            }
            (
                author.number,
                if resumes { since } else { revision },
                cursors,
            )
        };
        let mut member = Member {
            room: self,
            author,
            key,
            client: outbox.number(),
            _cursors: cursors,
            _edits: None,
        };
        let edits = SubscribeOptions::new().with_envelope().since(since);
        let edits = member.room.edits.subscribe(outbox, edits);
        member._edits = Some(edits.map_err(|error| error.to_string())?);
        Ok(member)
    }

    /// Tells the others where somebody is. Conflated by the author: also that one has gone is the newest of it.
    fn tell(&self, author: u64, client: u64, what: Value) {
        let publication = Publication::from(Message::text(what.to_string()));
        let publication = publication.key(&author.to_string()).except(client);
        // Under `conflate` nobody waits, so the turn comes; and a place that is not told is told with the next.
        let _ = self.cursors.publish(publication);
    }

    /// What is not on the shelf yet, and as which revision.
    pub(crate) fn unsaved(&self) -> Option<(u64, Saved)> {
        let state = self.state();
        let document = &state.document;
        (document.revision != state.saved).then(|| (document.revision, document.saved()))
    }

    pub(crate) fn is_saved(&self, revision: u64) {
        self.state().saved = revision;
    }

    /// Nothing would be lost with it, or what would be is older than we remember such.
    pub(crate) fn may_go(&self) -> bool {
        let state = self.state();
        state.people.is_empty()
            && (state.document.revision == state.saved || state.left.elapsed() > MEMORY)
    }
}

impl Person {
    fn told(&self, who: u64, revision: u64) -> Value {
        json!({ "who": who, "name": self.name, "rev": revision, "from": self.from, "to": self.to })
    }
}

/// Somebody in a room, on one connection; leaves with it.
pub(crate) struct Member {
    room: Arc<Room>,
    author: u64,
    key: String,
    client: u64,
    _cursors: Subscription,
    _edits: Option<Subscription>,
}

impl Member {
    /// Makes an edit the next revision, and tells everybody. False: it was one already.
    pub(crate) fn edit(&self, edit: &Edit) -> Result<bool, Refusal> {
        let mut state = self.room.state();
        let Some(next) = state.document.judge(&self.key, edit)? else {
            return Ok(false);
        };
        let told = json!({ "by": self.author, "n": edit.n, "op": next.op });
        let published = self.room.edits.publish(Message::text(told.to_string()));
        // The turn is never held for long under `disconnect`; should it be, the page comes back and sends it again.
        let published = published.map_err(|_| Refusal::TooOld)?;
        for (who, person) in &mut state.people {
            let is_author = *who == self.author;
            let moved = |place| {
                if is_author {
                    next.op.caret()
                } else {
                    next.op.moved(place)
                }
            };
            (person.from, person.to) = (moved(person.from), moved(person.to));
        }
        state.document.commit(published.id, &self.key, edit.n, next);
        Ok(true)
    }

    /// Says where this one's selection is, in the text of that revision.
    pub(crate) fn point(&self, revision: u64, from: usize, to: usize) -> Result<(), Refusal> {
        if from.max(to) > LONGEST {
            return Err(Refusal::TooLong);
        }
        let mut state = self.room.state();
        let from = state.document.moved(revision, from)?;
        let to = state.document.moved(revision, to)?;
        let revision = state.document.revision;
        let Some(person) = state.people.get_mut(&self.author) else {
            return Ok(());
        };
        (person.from, person.to) = (from, to);
        let told = person.told(self.author, revision);
        self.room.tell(self.author, self.client, told);
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.room.state();
        let is_here = |person: &Person| person.outbox.number() == self.client;
        // Who has come back on another connection has not gone.
        if state.people.get(&self.author).is_some_and(is_here) {
            state.people.remove(&self.author);
            state.left = Instant::now();
            let gone = json!({ "who": self.author, "gone": true });
            self.room.tell(self.author, self.client, gone);
        }
    }
}

/// How an edit is told: with its revision, which is its id.
pub(crate) struct Revised;

impl Envelope for Revised {
    fn message(&self, _topic: &str, post: &TopicMessage) -> Message {
        let text = post.message().into_text().unwrap_or_default();
        let fields = text.strip_prefix('{').unwrap_or("}");
        Message::text(format!(r#"{{"rev":{},{fields}"#, post.id()))
    }

    fn gap(&self, _topic: &str, first: u64, last: u64) -> Message {
        Message::text(json!({ "gap": [first, last] }).to_string())
    }

    fn presence(&self, _topic: &str, name: &str, joined: bool) -> Message {
        Message::text(json!({ "name": name, "joined": joined }).to_string())
    }
}
