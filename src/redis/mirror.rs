//! Reads which names are present on other hubs. Later changes arrive on the channels of the topics.

use std::str;
use std::time::Instant;

use ::redis::{Value, cmd};

use super::connection::{Commands, ServerConnection, ServerError, bytes, elements};
use super::figures::Figures;
use super::link::Link;
use crate::hub::Topic;
use crate::names;

/// Replaces what the topics know of other hubs. Their channels have been subscribed to before, so that no later change is
/// missed.
pub(super) fn read_names(
    link: &Link,
    connection: &mut ServerConnection,
    topics: &[(String, Topic)],
) -> Result<(), ServerError> {
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
        let Some(fields) = reply.as_ref().and_then(elements) else {
            // Another program has used the key for something else. The names remain as they were.
            Figures::add(&link.figures.malformed, 1);
            continue;
        };
        let mut names = Vec::new();
        for field in fields.iter().step_by(2) {
            match place(field) {
                Some((node, _)) if node == link.node => {}
                Some(place) => names.push(place),
                None => Figures::add(&link.figures.malformed, 1),
            }
        }
        topic.replace_remote_names(names);
    }
    Ok(())
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
