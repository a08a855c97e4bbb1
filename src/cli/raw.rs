//! Raw mode: messages as they are, one topic to a connection; and `/echo`. Messages that came together are taken and sent
//! together.

use standpipe::{
    Connection, Hub, Publication, PublishError, PublishOutcome, SubscribeOptions, Topic,
};

use super::Failure;
use super::site::since;

/// The most messages that are received and published in one call. A member gets up to as many in one write.
pub(crate) const MAX_BATCH: usize = 64;

/// Raw mode: what this client sends goes to every member, itself too unless it asked for `echo=false`.
pub(crate) fn relay(hub: &Hub, conn: &mut Connection, topic: &str) -> Result<(), Failure> {
    let topic = match hub.topic(topic) {
        Ok(topic) => topic,
        Err(error) => {
            conn.close(1013, &error.to_string());
            return Ok(());
        }
    };
    let mut how = SubscribeOptions::new();
    // Judged before the 101.
    if let Ok(Some(id)) = since(conn.request()) {
        how = how.since(id);
    }
    if let Some(name) = conn.request().query("name") {
        how = how.with_name(name);
    }
    let echo = conn.request().query("echo") != Some("false");
    let _member = topic.subscribe(conn.outbox(), how)?;
    let own = (!echo).then_some(conn.number());
    let publication = |message| {
        let publication = Publication::from(message);
        match own {
            Some(own) => publication.except(own),
            None => publication,
        }
    };
    loop {
        let messages = conn.recv_all(MAX_BATCH)?;
        if messages.is_empty() {
            return Ok(());
        }
        publish_waiting(
            conn,
            &topic,
            messages.into_iter().map(publication).collect(),
        )?;
    }
}

/// Sends back what comes.
pub(crate) fn echo(conn: &mut Connection) -> Result<(), Failure> {
    loop {
        let messages = conn.recv_all(MAX_BATCH)?;
        if messages.is_empty() {
            return Ok(());
        }
        conn.send_all(messages)?;
    }
}

/// Publishes for a client of ours: while the topic is busy it waits, and TCP makes the client wait.
///
/// # Blocking
/// As [`Topic::publish_all`], again and again until the client's own connection begins to end.
pub(crate) fn publish_waiting(
    conn: &Connection,
    topic: &Topic,
    publications: Vec<Publication>,
) -> Result<Vec<PublishOutcome>, PublishError> {
    loop {
        match topic.publish_all(publications.clone()) {
            Err(PublishError::Busy) if conn.is_open() => {}
            published => return published,
        }
    }
}
