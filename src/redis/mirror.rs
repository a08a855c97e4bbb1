//! [`Mirror`]: reads which names are present on other hubs. Later changes arrive on the channels of the topics.

use std::str;
use std::time::{Duration, Instant};

use ::redis::{Value, cmd};

use super::connection::{Commands, ServerConnection, ServerError, bytes, elements};
use super::figures::Figures;
use super::link::Link;
use crate::hub::Topic;
use crate::names;

/// How long after a connection to a server that has restarted, or has taken the place of another, its list of names may be
/// incomplete and its leases old. The other hubs need this time to connect and to write both.
pub(super) const SETTLING: Duration = Duration::from_secs(5);

/// The most topics whose names are read together.
const MAX_TOGETHER: usize = 512;

/// What a hub knows about the list of names on its server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mirror {
    /// The list on the server is complete at this moment. `None`: it is complete.
    complete_at: Option<Instant>,
}

impl Mirror {
    /// Says that the server may lack names of other hubs for a while. Until then no name is taken for one that has left.
    pub(super) fn set_incomplete(&mut self) {
        self.complete_at = Some(Instant::now() + SETTLING);
    }

    /// Reads the names on other hubs. The channels of the topics have been subscribed to before, so that no later change is
    /// missed.
    pub(super) fn read(
        self,
        link: &Link,
        connection: &mut ServerConnection,
        topics: &[(String, Topic)],
    ) -> Result<(), ServerError> {
        let now = Instant::now();
        let is_complete = self.complete_at.is_none_or(|at| now >= at);
        for topics in topics.chunks(MAX_TOGETHER) {
            let mut commands = Commands::default();
            for (_, topic) in topics {
                commands.add(cmd("HGETALL").arg(link.keys.presence(topic.name())));
            }
            let replies = connection.call(&commands, Instant::now() + link.timeout)?;
            for ((_, topic), reply) in topics.iter().zip(replies) {
                let reply = match reply {
                    Err(error) if error.is_no_master() => return Err(error),
                    reply => reply.ok(),
                };
                let Some(names) = names_of_others(link, reply.as_ref()) else {
                    // Another program uses the key for something else. The names remain as they were.
                    Figures::add(&link.figures.malformed, 1);
                    continue;
                };
                if is_complete {
                    topic.replace_remote_names(names);
                    continue;
                }
                for (node, name) in names {
                    topic.set_remote_present(node, &name, true);
                }
            }
        }
        Ok(())
    }

    /// Reads the names of all topics once more when the server's list has become complete.
    pub(super) fn refresh(
        &mut self,
        link: &Link,
        connection: &mut ServerConnection,
    ) -> Result<(), ServerError> {
        if self.complete_at.is_none_or(|at| Instant::now() < at) {
            return Ok(());
        }
        self.complete_at = None;
        self.read(link, connection, &link.topics.all())
    }
}

/// Reads the names on other hubs from a hash. `None`: it is no hash.
fn names_of_others(link: &Link, hash: Option<&Value>) -> Option<Vec<(u64, String)>> {
    let mut names = Vec::new();
    for field in elements(hash?)?.iter().step_by(2) {
        match place(field) {
            Some((node, _)) if node == link.node => {}
            Some(place) => names.push(place),
            None => Figures::add(&link.figures.malformed, 1),
        }
    }
    Some(names)
}

/// Reads the field of a name: the number of a hub in 16 hexadecimal digits, a zero byte, the name.
fn place(field: &Value) -> Option<(u64, String)> {
    let (node, name) = str::from_utf8(bytes(field)?).ok()?.split_once('\0')?;
    names::check("a name", name).ok()?;
    Some((number_of_node(node)?, name.into()))
}

/// Reads the number of a hub.
pub(super) fn number_of_node(digits: &str) -> Option<u64> {
    let is_number = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number.then(|| u64::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_names_are_checked() {
        let read = |text: &[u8]| place(&Value::BulkString(text.to_vec()));
        assert_eq!(
            read(b"00000000000000ab\0ann b"),
            Some((0xab, "ann b".into()))
        );
        let wrong: [&[u8]; 7] = [
            b"",
            b"ann",
            b"00000000000000ab",
            b"00000000000000ab\0",
            b"+0000000000000ab\0ann",
            b"ab\0ann",
            b"00000000000000ab\0a\nb",
        ];
        for wrong in wrong {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert_eq!(read(b"00000000000000ab\0\xff"), None);
        assert_eq!(
            read(&[b"00000000000000ab\0", &[b'a'; 201][..]].concat()),
            None
        );
    }
}
