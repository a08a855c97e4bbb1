//! JSON mode: one client of subprotocol `standpipe.v1`, on as many topics as it likes. `src/PROTOCOL.md` describes it.

use std::collections::HashMap;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use standpipe::{Connection, Hub, Message, Publication, Subscribe, Subscription};

use super::Failure;
use super::site::publish_waiting;
use super::{names, nesting};

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
        conn.cork(true);
        while let Some(message) = conn.recv()? {
            let (reference, done) = match &message {
                Message::Text(text) => self.command(conn, text),
                _ => (None, Err("commands are text".into())),
            };
            let answer = match (&done, reference) {
                (Ok(id), Some(reference)) => Some(json!({"ack": reference, "id": id})),
                (Ok(_), None) => None,
                (Err(refusal), Some(reference)) => {
                    Some(json!({"error": refusal.error, "ref": reference}))
                }
                (Err(refusal), None) => Some(json!({"error": refusal.error})),
            };
            if let Some(answer) = answer {
                conn.send(Message::text(answer.to_string()))?;
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
    fn command(&mut self, conn: &Connection, text: &str) -> (Option<Value>, Done) {
        let fields = match fields(text) {
            Ok(fields) => fields,
            Err(error) => {
                self.strikes += 1;
                let error = format!("this is not JSON: {error}");
                let close = (self.strikes >= STRIKES).then_some(POLICY_VIOLATION);
                return (None, Err(Refusal { error, close }));
            }
        };
        let Some(mut fields) = fields else {
            return (None, Err("a command is an object".into()));
        };
        let reference = fields
            .remove("ref")
            .filter(|reference| !reference.is_null());
        match reference {
            None | Some(Value::Number(_) | Value::String(_)) => {}
            Some(_) => return (None, Err("ref is a number or a string".into())),
        }
        (reference, self.obey(conn, &fields, text))
    }

    fn obey(&mut self, conn: &Connection, fields: &Map<String, Value>, text: &str) -> Done {
        let commands = ["sub", "unsub", "pub"];
        let mut named = commands
            .iter()
            .filter_map(|name| Some((*name, fields.get(*name)?)));
        let (Some((command, topic)), None) = (named.next(), named.next()) else {
            return Err("a command is one of sub, unsub, pub".into());
        };
        let topic = topic
            .as_str()
            .ok_or_else(|| format!("{command} names a topic, a string"))?;
        names::check("a topic", topic)?;
        match command {
            "sub" => self.subscribe(conn, topic, fields),
            "unsub" => match self.subscriptions.remove(topic) {
                Some(subscription) => Ok(Some(subscription.topic().last_id())),
                None => Err("you are not subscribed to it".into()),
            },
            _ => self.publish(conn, topic, fields, text),
        }
    }

    fn subscribe(&mut self, conn: &Connection, name: &str, fields: &Map<String, Value>) -> Done {
        if self.subscriptions.contains_key(name) {
            return Err("you are subscribed to it already".into());
        }
        if self.subscriptions.len() >= self.max_subscriptions {
            let error = format!("{} subscriptions are the limit", self.max_subscriptions);
            return Err(Refusal {
                error,
                close: Some(TRY_AGAIN_LATER),
            });
        }
        let mut how = Subscribe::new().enveloped();
        match fields.get("since") {
            None | Some(Value::Null) => {}
            Some(since) => {
                let since = since
                    .as_u64()
                    .ok_or("since is an id: a whole number, not below 0")?;
                how = how.since(since);
            }
        }
        match fields.get("presence") {
            None | Some(Value::Bool(false)) => {}
            Some(Value::Bool(true)) => how = how.with_presence(),
            Some(_) => return Err("presence is true or false".into()),
        }
        if let Some(own) = &self.name {
            how = how.named(own);
        }
        let topic = self.topic(name)?;
        let subscription = topic
            .subscribe(conn.outbox(), how)
            .map_err(|error| error.to_string())?;
        let id = subscription.last_id();
        self.subscriptions.insert(name.to_owned(), subscription);
        Ok(Some(id))
    }

    fn publish(
        &self,
        conn: &Connection,
        name: &str,
        fields: &Map<String, Value>,
        text: &str,
    ) -> Done {
        let mut publication = publication(fields, text)?;
        match fields.get("key") {
            None | Some(Value::Null) => {}
            Some(Value::String(key)) => {
                names::check("a key", key)?;
                publication = publication.key(key);
            }
            Some(_) => return Err("key is a string".into()),
        }
        let topic = match self.subscriptions.get(name) {
            Some(subscription) => subscription.topic().clone(),
            None => self.topic(name)?,
        };
        let published =
            publish_waiting(conn, &topic, publication).map_err(|error| error.to_string())?;
        Ok(Some(published.id))
    }

    fn topic(&self, name: &str) -> Result<standpipe::Topic, Refusal> {
        self.hub.topic(name).map_err(|error| Refusal {
            error: error.to_string(),
            close: Some(TRY_AGAIN_LATER),
        })
    }
}

/// The fields of a command; `None`: it is JSON, but no object. Lists and objects in it are not looked into, and shown as
/// empty: a tree of them would be as deep as a client likes, and our stack is not.
fn fields(text: &str) -> serde_json::Result<Option<Map<String, Value>>> {
    let whole: &RawValue = serde_json::from_str(text)?;
    if !whole.get().starts_with('{') {
        return Ok(None);
    }
    let raw: HashMap<String, &RawValue> = serde_json::from_str(whole.get())?;
    let flat = |raw: &RawValue| match raw.get().as_bytes() {
        [b'[', ..] => Ok(Value::Array(Vec::new())),
        [b'{', ..] => Ok(Value::Object(Map::new())),
        _ => serde_json::from_str(raw.get()),
    };
    let fields = raw.into_iter().map(|(name, raw)| Ok((name, flat(raw)?)));
    fields.collect::<serde_json::Result<_>>().map(Some)
}

/// A string is published as the text it is, and everything else as JSON, with every digit as it was written.
fn publication(fields: &Map<String, Value>, text: &str) -> Result<Publication, Refusal> {
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        data: &'a RawValue,
    }
    let data = fields.get("data").ok_or("pub needs data")?;
    match (fields.get("base64"), data) {
        (Some(Value::Bool(true)), Value::String(encoded)) => {
            let bytes = BASE64
                .decode(encoded.as_bytes())
                .map_err(|error| format!("base64: {error}"))?;
            Ok(Message::binary(bytes).into())
        }
        (Some(Value::Bool(true)), _) => Err("with base64 data is a string".into()),
        (None | Some(Value::Bool(false)), Value::String(text)) => {
            Ok(Message::text(text.as_str()).into())
        }
        (None | Some(Value::Bool(false)), _) => {
            let raw: Data = serde_json::from_str(text).map_err(|error| error.to_string())?;
            nesting::check(raw.data.get())?;
            Ok(Publication::from(Message::text(raw.data.get())).json())
        }
        (Some(_), _) => Err("base64 is true or false".into()),
    }
}
