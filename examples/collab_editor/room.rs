//! [`Room`]: a document, the people who have it open, and its two topics.
//!
//! A room's lock is held from the check of an edit until it is published. Therefore edits are published in the order of
//! the document, and a revision is the id of its message in the topic. The lock is never held while a thread waits for
//! a slow client, a socket or a file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};
use standpipe::{Connection, Envelope, Gap, Message, Outbox, Policy, Publication, TopicMessage};
use standpipe::{SubscribeOptions, Subscription, Topic, TopicSettings};

use crate::document::{Document, Edit, HISTORY, Refusal, Saved, Start};
use crate::rooms::MEMORY;
use crate::text::MAX_LENGTH;

/// Maximum number of people in one room.
pub(crate) const PEOPLE: usize = 32;
/// Edits that may be queued for one person.
const EDITS: usize = 64;
/// Size of a client's queue: edits, cursors, and a few answers.
pub(crate) const QUEUE: usize = EDITS + PEOPLE + 32;

pub(crate) struct Room {
    state: Mutex<State>,
    edits: Topic,
    cursors: Topic,
}

struct State {
    document: Document,
    /// The people in the room, by author number.
    people: BTreeMap<u64, Person>,
    /// The last saved revision.
    saved: u64,
    /// When the last person left.
    left: Instant,
}

/// A person in the room. The selection refers to the current text.
struct Person {
    name: String,
    from: usize,
    to: usize,
    outbox: Outbox,
}

/// A request of a client to join a room, with the revision of the text that it already has.
pub(crate) struct JoinRequest {
    pub(crate) name: String,
    pub(crate) key: String,
    /// The life of the document that `since` refers to.
    pub(crate) life: u64,
    /// The client's last revision.
    pub(crate) since: u64,
}

/// Returns the settings of the two topics of a room.
pub(crate) fn settings() -> [(&'static str, TopicSettings); 2] {
    // A missing edit would make all later edits wrong, so no policy that drops messages is possible. `Disconnect` does
    // not wait for a slow client either. A disconnected client receives the missed edits from the history.
    let edits = TopicSettings::default()
        .policy(Policy::Disconnect { soft: None })
        .queue(EDITS)
        .history(HISTORY)
        .max_age(MEMORY);
    // Only the newest position of a cursor counts. The key is the author, so the queue has room for one cursor per
    // person.
    let cursors = TopicSettings::default()
        .policy(Policy::Conflate)
        .queue(PEOPLE);
    [("*/edits", edits), ("*/cursors", cursors)]
}

impl Room {
    pub(crate) fn new(edits: Topic, cursors: Topic, saved: Option<Saved>) -> Room {
        // The ids of a topic grow across restarts, and so do the revisions.
        let revision = edits.last_id();
        // A loaded document counts as unsaved. Its new life must be saved, so that the next life knows which revision
        // of it was saved.
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

    /// Adds a client to the room. It receives the hello, then the edits it has missed, then new edits.
    ///
    /// # Blocking
    /// Waits for room in the client's queue while the missed edits are queued.
    pub(crate) fn join(
        self: Arc<Self>,
        conn: &Connection,
        request: JoinRequest,
    ) -> Result<Member, String> {
        let JoinRequest {
            name,
            key,
            life,
            since,
        } = request;
        let outbox = conn.outbox();
        let (author, since, cursors) = {
            let mut state = self.state();
            let State {
                document, people, ..
            } = &mut *state;
            let (author, known) =
                document.find_or_add_author(&key, |number| people.contains_key(&number));
            if state.people.len() >= PEOPLE && !state.people.contains_key(&author.number) {
                return Err(format!("the text is full: {PEOPLE} people have it open"));
            }
            // For an unknown author, the document cannot tell which of its edits were applied.
            let resumes = known && state.document.start(life, since) == Start::Resume;
            let document = &state.document;
            let revision = document.revision;
            let mut hello = json!({
                "hello": author.number, "known": known, "applied": author.applied,
                "life": document.life, "rev": revision, "lives": document.lives, "most": MAX_LENGTH,
                "people": state.people.iter().filter(|(number, _)| **number != author.number)
                    .map(|(number, person)| person.cursor(*number, revision)).collect::<Vec<_>>(),
            });
            if !resumes {
                hello["text"] = json!(document.text.to_string());
            }
            // The client's queue is empty, so there is room. The hello is queued under the lock, so that it comes
            // first.
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
            self.publish_cursor(
                author.number,
                outbox.number(),
                person.cursor(author.number, revision),
            );
            if let Some(older) = state.people.insert(author.number, person) {
                // An older connection of the same page is closed. Otherwise one key could fill the room.
                older.outbox.close(4101, "your page has connected again");
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

    /// Publishes a cursor to all other clients. The key is the author, so it replaces an older cursor of this author.
    ///
    /// The message that a person has left is published in the same way, because it is the newest state of that person.
    fn publish_cursor(&self, author: u64, client: u64, cursor: Value) {
        let publication = Publication::from(Message::text(cursor.to_string()));
        let publication = publication.key(&author.to_string()).except(client);
        // A publish under `conflate` does not wait for clients, so the topic is not busy for long. If the publish fails
        // nevertheless, the next cursor makes up for it.
        let _ = self.cursors.publish(publication);
    }

    /// Returns the document to be saved and its revision, if it has changed since the last save.
    pub(crate) fn unsaved(&self) -> Option<(u64, Saved)> {
        let state = self.state();
        let document = &state.document;
        (document.revision != state.saved).then(|| (document.revision, document.saved()))
    }

    pub(crate) fn mark_saved(&self, revision: u64) {
        self.state().saved = revision;
    }

    /// Returns whether the room can be closed: nobody is in it, and it is saved or has been unused for [`MEMORY`].
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.state();
        state.people.is_empty()
            && (state.document.revision == state.saved || state.left.elapsed() > MEMORY)
    }
}

impl Person {
    /// Returns the message with this person's selection.
    fn cursor(&self, number: u64, revision: u64) -> Value {
        json!({ "who": number, "name": self.name, "rev": revision, "from": self.from, "to": self.to })
    }
}

/// A person's membership in a room, for one connection. Dropping it removes the person.
pub(crate) struct Member {
    room: Arc<Room>,
    author: u64,
    key: String,
    client: u64,
    _cursors: Subscription,
    _edits: Option<Subscription>,
}

impl Member {
    /// Makes an edit the next revision and publishes it. Returns false if the edit had already been applied.
    pub(crate) fn edit(&self, edit: &Edit) -> Result<bool, Refusal> {
        let mut state = self.room.state();
        let Some(next) = state.document.prepare(&self.key, edit)? else {
            return Ok(false);
        };
        let message = json!({ "by": self.author, "n": edit.n, "op": next.op });
        let published = self.room.edits.publish(Message::text(message.to_string()));
        // Only a busy topic could refuse the message, and a publish under `disconnect` does not take long. If it
        // happens, the page reconnects and sends the edit again.
        let published = published.map_err(|_| Refusal::TooOld)?;
        for (number, person) in &mut state.people {
            let is_author = *number == self.author;
            let moved = |position| {
                if is_author {
                    next.op.caret()
                } else {
                    next.op.moved(position)
                }
            };
            (person.from, person.to) = (moved(person.from), moved(person.to));
        }
        state.document.commit(published.id, &self.key, edit.n, next);
        Ok(true)
    }

    /// Sets this person's selection, which refers to the text of `revision`, and publishes it.
    pub(crate) fn move_cursor(&self, revision: u64, from: usize, to: usize) -> Result<(), Refusal> {
        if from.max(to) > MAX_LENGTH {
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
        let cursor = person.cursor(self.author, revision);
        self.room.publish_cursor(self.author, self.client, cursor);
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.room.state();
        let is_current = |person: &Person| person.outbox.number() == self.client;
        // A person that has reconnected stays in the room.
        if state.people.get(&self.author).is_some_and(is_current) {
            state.people.remove(&self.author);
            state.left = Instant::now();
            let gone = json!({ "who": self.author, "gone": true });
            self.room.publish_cursor(self.author, self.client, gone);
        }
    }
}

/// Adds the revision to an edit. The revision is the id of the message in its topic.
pub(crate) struct RevisionEnvelope;

impl Envelope for RevisionEnvelope {
    fn message(&self, _topic: &str, message: &TopicMessage) -> Message {
        let published = message.message();
        let text = published.to_text().unwrap_or_default();
        let fields = text.strip_prefix('{').unwrap_or("}");
        Message::text(format!(r#"{{"rev":{},{fields}"#, message.id()))
    }

    fn gap(&self, _topic: &str, gap: Gap<'_>) -> Message {
        Message::text(json!({ "gap": [gap.first, gap.last] }).to_string())
    }

    fn presence(&self, _topic: &str, name: &str, joined: bool) -> Message {
        Message::text(json!({ "name": name, "joined": joined }).to_string())
    }
}
