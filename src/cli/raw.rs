//! Raw mode, in which a client is connected to one topic and messages have no envelope; and the path `/echo`.
//!
//! Messages that arrived together are received, published and sent together.

use standpipe::{
    Connection, Hub, Publication, PublishError, PublishOutcome, Reply, SubscribeError,
    SubscribeOptions, Subscription, Topic,
};

use super::client_log::Forbidden;
use super::exec::Input;
use super::publish_counts::{self, Way};
use super::replies::busy;
use super::rules::Rights;
use super::tokens::Identity;
use super::{Failure, params};

/// The maximum number of messages received in one call. A topic also gives a member up to this many in one write.
pub(crate) const MAX_BATCH: usize = 64;

/// Close code when a limit on topics or subscriptions is reached, the server of `--redis` is away, or the command of `exec`
/// has ended.
pub(crate) const TRY_AGAIN_LATER: u16 = 1013;

/// Close code when it is not known whether a message was published: repeating it later, as 1013 suggests, may repeat it.
pub(crate) const UNKNOWN: u16 = 1011;

/// Close code when a client publishes to a topic without the right to.
pub(crate) const FORBIDDEN: u16 = 4003;

/// Makes the client a member of the topic, before it knows that it is connected. So it misses nothing that is published
/// after that.
///
/// If the messages that it missed do not fit into its queue, or publishers hold the topic, the client becomes a member in
/// [`relay`]. The history has what is published in between.
///
/// # Errors
/// The answer to the handshake, if what connects the hubs does not answer, or refuses to open the topic.
pub(crate) fn join(hub: &Hub, conn: &Connection, topic: &str) -> Result<(), Reply> {
    // Other errors are reported by `relay`, as a close code.
    let Ok(topic) = hub.topic(topic) else {
        return Ok(());
    };
    match subscribe(&topic, conn) {
        Ok(subscription) => conn.keep(subscription),
        Err(error @ SubscribeError::Unavailable) => return Err(busy(error.to_string())),
        Err(_) => {}
    }
    Ok(())
}

fn subscribe(topic: &Topic, conn: &Connection) -> Result<Subscription, SubscribeError> {
    let request = conn.request();
    let mut options = SubscribeOptions::new();
    // An invalid `since` was rejected before. Without a history there is nothing to wait for: raw mode has no gap notices.
    if let (Ok(Some(id)), 1..) = (params::since(request), topic.settings().history) {
        options = options.since(id);
    }
    if let Some(epoch) = request.query("epoch") {
        options = options.epoch(epoch);
    }
    if let Some(name) = Identity::of(request).name(request) {
        options = options.with_name(name);
    }
    topic.subscribe(conn.outbox(), options)
}

/// Raw mode: publishes what this client sends to every member. The client is a member too, but with `echo=false` it does
/// not receive its own messages. With a command behind the topic, the command gets the messages instead of the members.
pub(crate) fn relay(
    hub: &Hub,
    conn: &mut Connection,
    name: &str,
    mut rights: Rights<'_>,
    input: Option<&Input>,
) -> Result<(), Failure> {
    let subscription = match (conn.take::<Subscription>(), hub.topic(name)) {
        (Some(subscription), _) => subscription,
        (None, Ok(topic)) => match subscribe(&topic, conn) {
            Err(error @ SubscribeError::Unavailable) => {
                conn.close(TRY_AGAIN_LATER, &error.to_string());
                return Ok(());
            }
            subscribed => subscribed?,
        },
        (None, Err(error)) => {
            conn.close(TRY_AGAIN_LATER, &error.to_string());
            return Ok(());
        }
    };
    let topic = subscription.topic();
    let echo = params::echo(conn.request()).unwrap_or(true);
    let except = (!echo).then_some(conn.number());
    let publication = |message| {
        let publication = Publication::from(message);
        match except {
            Some(own) => publication.except(own),
            None => publication,
        }
    };
    loop {
        let messages = conn.recv_all(MAX_BATCH)?;
        if messages.is_empty() {
            return Ok(());
        }
        if let Err(reason) = rights.check_publish(name) {
            Forbidden::Publish.log(conn, &reason);
            publish_counts::record_forbidden(Way::Raw, messages.len());
            conn.close(FORBIDDEN, reason);
            return Ok(());
        }
        if let Some(input) = input.filter(|input| input.is_of(name)) {
            if let Err(reason) = input.send(conn, messages) {
                conn.close(TRY_AGAIN_LATER, reason);
                return Ok(());
            }
            continue;
        }
        let published = publish_waiting(
            conn,
            topic,
            Way::Raw,
            messages.into_iter().map(publication).collect(),
        );
        match published {
            Ok(_) => {}
            // There are no answers in raw mode, so only a Close tells the client that its message is missing.
            Err(error @ PublishError::Unavailable(..)) => {
                conn.close(TRY_AGAIN_LATER, &error.to_string());
                return Ok(());
            }
            Err(error @ PublishError::Unknown(_)) => {
                conn.close(UNKNOWN, &error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends every message back.
pub(crate) fn echo(conn: &mut Connection) -> Result<(), Failure> {
    loop {
        let messages = conn.recv_all(MAX_BATCH)?;
        if messages.is_empty() {
            return Ok(());
        }
        conn.send_all(messages)?;
    }
}

/// Publishes on behalf of a connected client. While the topic is busy this waits, so nothing more is read from the client,
/// and TCP makes the client wait.
///
/// # Blocking
/// Like [`Topic::publish_all`], repeated until the client's own connection begins to close.
pub(crate) fn publish_waiting(
    conn: &Connection,
    topic: &Topic,
    way: Way,
    mut publications: Vec<Publication>,
) -> Result<Vec<PublishOutcome>, PublishError<Vec<Publication>>> {
    let messages = publications.len();
    loop {
        match topic.publish_all(publications) {
            Err(PublishError::Busy(unpublished)) if conn.is_open() => publications = unpublished,
            result => {
                publish_counts::record(way, messages, &result);
                return result;
            }
        }
    }
}
