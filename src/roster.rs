//! [`Roster`]: people by name, each with several connections.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::connection::Outbox;
use crate::error::TrySendError;
use crate::message::Message;
use crate::sync::lock;

/// People by name, each with one or more connections: to send to a user, to list who is there, and to remove somebody.
///
/// It is bounded: both the number of names and the number of connections of one name have a limit. A connection leaves
/// when its [`RosterEntry`] is dropped. Cloning a roster is cheap; all clones are the same roster. It belongs to no
/// server, so the clients of several servers can be in one roster.
///
/// Names are compared exactly as they are. Whether a client may use a name is for
/// [`Handler::request`](crate::Handler::request) to decide.
///
/// ```no_run
/// use standpipe::{Config, Connection, Roster, Server};
///
/// // Up to 1000 users, with up to 8 connections each.
/// let roster = Roster::new(1000, 8);
/// let server = Server::bind("127.0.0.1:9001", Config::default())?;
/// server.serve(move |conn: &mut Connection| {
///     let name = conn.request().query("name").unwrap_or("nobody").to_owned();
///     let _entry = roster.join(&name, conn.outbox())?; // Until the handler returns.
///     while let Some(message) = conn.recv()? {
///         // `bob: hello` is sent to all connections of bob.
///         if let Some((to, text)) = message.to_text().unwrap_or_default().split_once(": ") {
///             roster.send_to(to, format!("{name} says {text}"));
///         }
///     }
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Roster {
    shared: Arc<Shared>,
}

struct Shared {
    max_names: usize,
    max_connections: usize,
    /// No name is without a connection.
    names: Mutex<BTreeMap<Arc<str>, Vec<Place>>>,
}

/// A connection of a name.
struct Place {
    outbox: Outbox,
    /// The number of its entries: a connection that has joined twice is listed once.
    entries: usize,
}

/// Why a connection was not added to a [`Roster`].
///
/// ```
/// use standpipe::{Connection, Roster, RosterFull};
///
/// fn run(roster: &Roster, conn: &mut Connection) -> standpipe::HandlerResult {
///     let _entry = match roster.join("ann", conn.outbox()) {
///         Ok(entry) => entry,
///         Err(RosterFull::Connections(most)) => {
///             conn.close(4100, &format!("you have {most} connections already"));
///             return Ok(());
///         }
///         Err(full) => return Err(full.into()),
///     };
///     while conn.recv()?.is_some() {}
///     Ok(())
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RosterFull {
    /// The roster has this many names, which is its limit.
    #[error("the roster has {0} names, and no more are added")]
    Names(usize),
    /// The name has this many connections, which is the limit of the roster.
    #[error("this name has {0} connections, and no more are added")]
    Connections(usize),
}

/// What became of a message of [`Roster::send_to`].
///
/// ```
/// use standpipe::Roster;
///
/// fn notify(roster: &Roster, name: &str, text: &str) {
///     let outcome = roster.send_to(name, text);
///     if outcome.receivers == 0 {
///         println!("{name} is not here, or is too slow ({} full queues): send a mail", outcome.full);
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RosterOutcome {
    /// The number of connections that the message was queued for.
    pub receivers: usize,
    /// The number of connections that had no room for it. They do not receive it.
    pub full: usize,
}

impl Roster {
    /// Creates a roster for up to `max_names` names, each with up to `max_connections` connections.
    ///
    /// ```
    /// use standpipe::Roster;
    /// let roster = Roster::new(1000, 8);
    /// assert!(roster.is_empty());
    /// ```
    pub fn new(max_names: usize, max_connections: usize) -> Roster {
        let shared = Shared {
            max_names,
            max_connections,
            names: Mutex::default(),
        };
        Roster {
            shared: Arc::new(shared),
        }
    }

    /// Adds a connection to `name`, until the returned entry is dropped. If a limit is reached, connections that have
    /// ended leave first, even if their entries still exist.
    ///
    /// A connection can be added to several names, and several times to the same name. Then it stays until its last entry
    /// of that name is dropped, and receives each message once.
    ///
    /// # Errors
    /// [`RosterFull`] says which limit is reached.
    ///
    /// ```
    /// # use standpipe::{Connection, Roster};
    /// # fn run(roster: &Roster, conn: &mut Connection) -> standpipe::HandlerResult {
    /// let entry = roster.join("ann", conn.outbox())?;
    /// conn.keep(entry); // Or keep it here: it leaves when it is dropped.
    /// # Ok(())
    /// # }
    /// ```
    pub fn join(&self, name: &str, outbox: Outbox) -> Result<RosterEntry, RosterFull> {
        let Shared {
            max_names,
            max_connections,
            ..
        } = *self.shared;
        let number = outbox.number();
        let mut names = lock(&self.shared.names);
        if !names.contains_key(name) && names.len() >= max_names {
            names.retain(|_, places| remove_ended(places));
            if names.len() >= max_names {
                return Err(RosterFull::Names(max_names));
            }
        }
        let (name, mut places) = names
            .remove_entry(name)
            .unwrap_or_else(|| (name.into(), Vec::new()));
        let result = add(&mut places, outbox, max_connections);
        if !places.is_empty() {
            names.insert(Arc::clone(&name), places);
        }
        result.map(|()| RosterEntry {
            roster: self.clone(),
            name,
            number,
        })
    }

    /// Sends `message` to all connections of `name`, as with [`Outbox::try_send`]. Never blocks.
    ///
    /// ```
    /// # use standpipe::{Roster, RosterOutcome};
    /// let outcome = Roster::new(1000, 8).send_to("nobody", "hello");
    /// assert_eq!(outcome, RosterOutcome::default());
    /// ```
    pub fn send_to(&self, name: &str, message: impl Into<Message>) -> RosterOutcome {
        let message = message.into();
        let mut outcome = RosterOutcome::default();
        // No lock is held while a message is written.
        for outbox in self.outboxes(name) {
            match outbox.try_send(message.clone()) {
                Ok(()) => outcome.receivers += 1,
                Err(TrySendError::Full(_)) => outcome.full += 1,
                Err(_) => {} // It has ended.
            }
        }
        outcome
    }

    /// Closes all connections of `name` as [`Outbox::close_now`] does, and returns their number. They leave the roster
    /// immediately, so the name can be used again before their handlers have returned.
    ///
    /// ```
    /// # use standpipe::Roster;
    /// fn ban(roster: &Roster, name: &str) {
    ///     let connections = roster.kick(name, 4100, "banned");
    ///     println!("{name} had {connections} connections");
    /// }
    /// ```
    pub fn kick(&self, name: &str, code: u16, reason: &str) -> usize {
        let mut places = lock(&self.shared.names).remove(name).unwrap_or_default();
        remove_ended(&mut places);
        for place in &places {
            place.outbox.close_now(code, reason);
        }
        places.len()
    }

    /// Returns the outboxes of all open connections of `name`.
    ///
    /// ```
    /// # use standpipe::Roster;
    /// fn is_here(roster: &Roster, name: &str) -> bool {
    ///     !roster.outboxes(name).is_empty()
    /// }
    /// ```
    pub fn outboxes(&self, name: &str) -> Vec<Outbox> {
        let names = lock(&self.shared.names);
        let places = names.get(name).into_iter().flatten();
        let open = places.filter(|place| place.outbox.is_open());
        open.map(|place| place.outbox.clone()).collect()
    }

    /// Returns the names that have an open connection, sorted.
    ///
    /// ```
    /// # use standpipe::Roster;
    /// fn who(roster: &Roster) -> String {
    ///     format!("here are: {}", roster.names().join(", "))
    /// }
    /// ```
    pub fn names(&self) -> Vec<String> {
        let names = lock(&self.shared.names);
        let is_here = |places: &[Place]| places.iter().any(|place| place.outbox.is_open());
        let here = names.iter().filter(|(_, places)| is_here(places));
        here.map(|(name, _)| name.to_string()).collect()
    }

    /// Returns the number of names. A name whose connections have all ended counts until their entries are dropped, or
    /// until it has to make room.
    ///
    /// ```
    /// # use standpipe::Roster;
    /// assert_eq!(Roster::new(1000, 8).len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        lock(&self.shared.names).len()
    }

    /// Returns whether there is no name.
    ///
    /// ```
    /// # use standpipe::Roster;
    /// assert!(Roster::new(1000, 8).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Adds an entry of a connection to the places of a name.
fn add(places: &mut Vec<Place>, outbox: Outbox, max_connections: usize) -> Result<(), RosterFull> {
    let number = outbox.number();
    if let Some(place) = places
        .iter_mut()
        .find(|place| place.outbox.number() == number)
    {
        place.entries += 1;
        return Ok(());
    }
    if places.len() >= max_connections {
        remove_ended(places);
    }
    if places.len() >= max_connections {
        return Err(RosterFull::Connections(max_connections));
    }
    places.push(Place { outbox, entries: 1 });
    Ok(())
}

/// Removes the connections that have ended. Returns whether any is left.
fn remove_ended(places: &mut Vec<Place>) -> bool {
    places.retain(|place| place.outbox.is_open());
    !places.is_empty()
}

/// One connection's entry in a [`Roster`]. Dropping it removes the connection from the name, unless it has joined the name
/// a second time.
///
/// ```
/// use standpipe::{Connection, Roster};
///
/// fn run(roster: &Roster, conn: &mut Connection) -> standpipe::HandlerResult {
///     let entry = roster.join("ann", conn.outbox())?;
///     while conn.recv()?.is_some() {}
///     drop(entry); // Also dropped if `recv` fails or the handler panics.
///     Ok(())
/// }
/// ```
#[must_use = "dropping an entry removes the connection from the roster"]
pub struct RosterEntry {
    roster: Roster,
    name: Arc<str>,
    number: u64,
}

impl RosterEntry {
    /// Returns the name.
    ///
    /// ```
    /// # use standpipe::RosterEntry;
    /// fn greet(entry: &RosterEntry) -> String {
    ///     format!("welcome, {}", entry.name())
    /// }
    /// ```
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for RosterEntry {
    fn drop(&mut self) {
        let mut names = lock(&self.roster.shared.names);
        let Some(places) = names.get_mut(&*self.name) else {
            return;
        };
        let is_own = |place: &Place| place.outbox.number() == self.number;
        if let Some(at) = places.iter().position(is_own) {
            places[at].entries -= 1;
            if places[at].entries == 0 {
                places.remove(at);
            }
        }
        if places.is_empty() {
            names.remove(&*self.name);
        }
    }
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster")
            .field("names", &self.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RosterEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RosterEntry")
            .field("name", &self.name)
            .field("client", &self.number)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
