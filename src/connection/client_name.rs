//! [`ClientName`]: how the log names a client, in its text and in its fields. [`CurrentName`]: the name that a connection
//! has now.

use std::fmt;
use std::sync::{Arc, Mutex};

use log::kv::{self, Key, Source, Value, VisitSource};
use log::{Level, Record};

use crate::escape::escaped;
use crate::http1::Peer;
use crate::sync::lock;

/// The target of the lines about what clients do, so that `RUST_LOG` can select them.
pub(crate) const TARGET: &str = "standpipe::clients";

/// The number, the address and the user of a client. [`Display`](fmt::Display) is the beginning of each log line about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientName {
    pub(crate) number: u64,
    pub(crate) peer: Peer,
    /// The user, if the handler has named one: see [`Reply::user`](crate::Reply::user).
    pub(crate) user: Option<Arc<str>>,
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}", self.number, self.peer)?;
        match &self.user {
            Some(user) => write!(f, " ({})", escaped(user)),
            None => Ok(()),
        }
    }
}

impl ClientName {
    /// Logs a line that begins with this name, unless its level is off. A log in JSON has the name and `fields` as fields.
    pub(crate) fn log(
        &self,
        target: &str,
        level: Level,
        fields: &[(&str, Value<'_>)],
        text: fmt::Arguments<'_>,
    ) {
        if !log::log_enabled!(target: target, level) {
            return;
        }
        let fields = Fields { name: self, fields };
        let mut record = Record::builder();
        record.target(target).level(level).key_values(&fields);
        log::logger().log(&record.args(format_args!("{self} {text}")).build());
    }

    /// As [`log`](Self::log). The line also says how many lines like it were left out.
    pub(crate) fn log_throttled(
        &self,
        target: &str,
        level: Level,
        fields: &[(&str, Value<'_>)],
        left_out: u64,
        text: fmt::Arguments<'_>,
    ) {
        if left_out == 0 {
            return self.log(target, level, fields, text);
        }
        let mut fields = fields.to_vec();
        fields.push(("left_out", Value::from(left_out)));
        self.log(
            target,
            level,
            &fields,
            format_args!("{text}; left out: {left_out} of this kind"),
        );
    }
}

/// Logs how many lines of one kind were left out, in a line of its own.
pub(crate) fn log_left_out(target: &str, level: Level, kind: &dyn fmt::Display, left_out: u64) {
    log::log!(target: target, level, left_out; "{kind}: left out: {left_out} of this kind");
}

/// The fields of a line about a client.
struct Fields<'a> {
    name: &'a ClientName,
    fields: &'a [(&'a str, Value<'a>)],
}

impl Source for Fields<'_> {
    fn visit<'kvs>(&'kvs self, visitor: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        let ClientName { number, peer, user } = self.name;
        visitor.visit_pair(Key::from_str("client"), Value::from(*number))?;
        visitor.visit_pair(Key::from_str("address"), Value::from_display(peer))?;
        if let Some(user) = user {
            visitor.visit_pair(Key::from_str("user"), Value::from(&**user))?;
        }
        self.fields.visit(visitor)
    }
}

/// The name of a connection's client. It changes until the client is upgraded, because a proxy may send the requests of
/// several clients on one connection. No thread waits while it holds the lock.
#[derive(Debug)]
pub(crate) struct CurrentName(Mutex<ClientName>);

impl CurrentName {
    pub(super) fn new(number: u64, peer: Peer) -> CurrentName {
        CurrentName(Mutex::new(ClientName {
            number,
            peer,
            user: None,
        }))
    }

    pub(crate) fn get(&self) -> ClientName {
        lock(&self.0).clone()
    }

    pub(crate) fn set(&self, peer: Peer, user: Option<Arc<str>>) {
        let mut name = lock(&self.0);
        (name.peer, name.user) = (peer, user);
    }

    /// Logs a line about what the client does, unless its level is off.
    pub(crate) fn log(&self, level: Level, text: fmt::Arguments<'_>) {
        // The name is copied only for a line that will be logged.
        if log::log_enabled!(target: TARGET, level) {
            self.get().log(TARGET, level, &[], text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_is_shown_escaped_after_the_address() {
        let mut name = ClientName {
            number: 7,
            peer: Peer::Unix,
            user: None,
        };
        assert_eq!(name.to_string(), "#7 unix");
        name.user = Some("ann\n".into());
        assert_eq!(name.to_string(), "#7 unix (ann\\n)");
    }

    #[test]
    fn fields_name_the_client_first() {
        let name = ClientName {
            number: 7,
            peer: Peer::Unix,
            user: Some("ann".into()),
        };
        let more = [("code", Value::from(1000))];
        let fields = Fields {
            name: &name,
            fields: &more,
        };
        let mut seen = Vec::new();
        let mut keep = |key: Key<'_>, value: Value<'_>| seen.push(format!("{key}={value}"));
        struct Keep<'a>(&'a mut dyn FnMut(Key<'_>, Value<'_>));
        impl<'kvs> VisitSource<'kvs> for Keep<'_> {
            fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
                (self.0)(key, value);
                Ok(())
            }
        }
        fields
            .visit(&mut Keep(&mut keep))
            .expect("the visitor accepts every field");
        assert_eq!(seen, ["client=7", "address=unix", "user=ann", "code=1000"]);
    }
}
