//! [`ClientName`]: how the log names a client. [`CurrentName`]: the name that a connection has now.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::escape::escaped;
use crate::http1::Peer;
use crate::sync::lock;

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
}

impl Clone for CurrentName {
    fn clone(&self) -> CurrentName {
        CurrentName(Mutex::new(self.get()))
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
}
