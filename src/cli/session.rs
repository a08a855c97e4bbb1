//! JSON mode: one client of subprotocol `standpipe.v1`, on as many topics as it likes. `src/PROTOCOL.md` describes it.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;
use standpipe::{Connection, Hub, Message, Publication, SubscribeOptions, Subscription};

use super::Failure;
use super::command::{self, Asked, Command, Unreadable};
use super::envelope::to_json;
use super::raw::publish_waiting;

/// Messages that are no JSON at all, before the client is taken for another protocol's.
const STRIKES: u32 = 3;

/// Limits on topics and subscriptions are told with this code.
const TRY_AGAIN_LATER: u16 = 1013;
const POLICY_VIOLATION: u16 = 1008;

/// One client's subscriptions.
pub(crate) struct Session<'a> {
    hub: &'a Hub,
    /// The name it is present under.
    name: Option<String>,
    max_subscriptions: usize,
    subscriptions: HashMap<String, Subscription>,
    strikes: u32,
}

/// The answers to a command.
#[derive(Serialize)]
struct Ack<'a> {
    ack: &'a RawValue,
    id: Option<u64>,
}

#[derive(Serialize)]
struct NotDone<'a> {
    error: &'a str,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a RawValue>,
}

/// What a command that was not done is answered, and whether that was the end.
struct Refusal {
    error: String,
    close: Option<u16>,
}

impl<T: Into<String>> From<T> for Refusal {
    fn from(error: T) -> Refusal {
        let error = error.into();
        Refusal { error, close: None }
    }
}

/// The id that a command is acknowledged with, if it has one.
type Done = Result<Option<u64>, Refusal>;

impl<'a> Session<'a> {
    pub(crate) fn new(hub: &'a Hub, name: Option<String>, max_subscriptions: usize) -> Session<'a> {
        Session {
            hub,
            name,
            max_subscriptions,
            subscriptions: HashMap::new(),
            strikes: 0,
        }
    }

    /// Obeys commands until the client is gone.
    pub(crate) fn run(mut self, conn: &mut Connection) -> Result<(), Failure> {
        while let Some(message) = conn.recv()? {
            let (reference, done) = match &message {
                Message::Text(text) => self.command(conn, text),
                _ => (None, Err("commands are text".into())),
            };
            let answer = match (&done, &reference) {
                (Ok(id), Some(reference)) => Some(to_json(&Ack {
                    ack: reference,
                    id: *id,
                })),
                (Ok(_), None) => None,
                (Err(refusal), reference) => Some(to_json(&NotDone {
                    error: &refusal.error,
                    reference: reference.as_deref(),
                })),
            };
            if let Some(answer) = answer {
                conn.send(Message::text(answer))?;
            }
            if let Err(Refusal {
                error,
                close: Some(code),
            }) = done
            {
                conn.close(code, &error);
            }
        }
        Ok(())
    }

    /// Obeys one command; gives what it wants its answer called.
    fn command(&mut self, conn: &Connection, text: &str) -> (Option<Box<RawValue>>, Done) {
        let Asked { reference, command } = command::read(text);
        let done = match command {
            Ok(Command::Subscribe {
                topic,
                since,
                presence,
            }) => self.subscribe(conn, topic, since, presence),
            Ok(Command::Unsubscribe(topic)) => match self.subscriptions.remove(&topic) {
                Some(subscription) => Ok(Some(subscription.topic().last_id())),
                None => Err("you are not subscribed to it".into()),
            },
            Ok(Command::Publish { topic, publication }) => self.publish(conn, &topic, publication),
            Err(Unreadable::NotJson(error)) => {
                self.strikes += 1;
                let close = (self.strikes >= STRIKES).then_some(POLICY_VIOLATION);
                Err(Refusal { error, close })
            }
            Err(Unreadable::Wrong(error)) => Err(error.into()),
        };
        (reference, done)
    }

    fn subscribe(
        &mut self,
        conn: &Connection,
        name: String,
        since: Option<u64>,
        presence: bool,
    ) -> Done {
        if self.subscriptions.contains_key(&name) {
            return Err("you are subscribed to it already".into());
        }
        if self.subscriptions.len() >= self.max_subscriptions {
            let error = format!("{} subscriptions are the limit", self.max_subscriptions);
            return Err(Refusal {
                error,
                close: Some(TRY_AGAIN_LATER),
            });
        }
        let mut how = SubscribeOptions::new().with_envelope();
        if let Some(since) = since {
            how = how.since(since);
        }
        if presence {
            how = how.with_presence();
        }
        if let Some(own) = &self.name {
            how = how.with_name(own);
        }
        let topic = self.topic(&name)?;
        let subscription = topic
            .subscribe(conn.outbox(), how)
            .map_err(|error| error.to_string())?;
        let id = subscription.last_id();
        self.subscriptions.insert(name, subscription);
        Ok(Some(id))
    }

    fn publish(&self, conn: &Connection, name: &str, publication: Publication) -> Done {
        let topic = match self.subscriptions.get(name) {
            Some(subscription) => subscription.topic().clone(),
            None => self.topic(name)?,
        };
        let published = publish_waiting(conn, &topic, vec![publication]);
        let published = published.map_err(|error| error.to_string())?;
        Ok(published.first().map(|published| published.id))
    }

    fn topic(&self, name: &str) -> Result<standpipe::Topic, Refusal> {
        self.hub.topic(name).map_err(|error| Refusal {
            error: error.to_string(),
            close: Some(TRY_AGAIN_LATER),
        })
    }
}
