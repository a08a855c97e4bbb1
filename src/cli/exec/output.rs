//! Thread `sp-exec-out`: publishes the lines that one process prints.
//!
//! It is fed by the pipe of the process, and keeps the order. It waits for bytes, and in `publish` for slow members, under
//! the policy `block`. While it publishes, it does not read, so the process waits when its pipe is full. It ends at the end
//! of the stream. A process that has left the group may hold the pipe open for ever, so `sp-exec` can end the thread too.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use standpipe::{Message, Publication, PublishError, Topic};

use super::end::End;
use super::lines::Lines;
use super::wake_up::poll_for;
use crate::cli::publish_counts::{self, Way};

/// How many lines are published together, as many as of one client.
const BATCH: usize = 64;

/// How many bytes are read in one call: what a pipe holds, unless somebody has changed its size (pipe(7)).
const PIPE: usize = 64 << 10;

/// How many bytes are still read after the end was requested. The process may have printed them before.
const AFTER_END: usize = 1 << 20;

/// Publishes the lines of `stdout` to `topic`, until the stream ends or `end` comes.
pub(super) fn run(stdout: &impl AsFd, topic: &Topic, max_line: usize, end: &End) {
    let mut lines = Lines::new(max_line);
    let mut buffer = vec![0; PIPE];
    let mut after_end = 0;
    while let Some((bytes, has_ended)) = read(stdout, &mut buffer, end) {
        publish(topic, lines.add(bytes));
        let skipped = lines.take_skipped();
        if skipped > 0 {
            log::warn!(
                "{skipped} lines of the command have more than {max_line} bytes, and were not published (--max-message)"
            );
        }
        if has_ended {
            after_end += bytes.len();
            if after_end > AFTER_END {
                break;
            }
        }
    }
    publish(topic, lines.last().into_iter().collect());
}

/// Waits for bytes, and reads them. Also returns whether the end was requested. Returns `None` when nothing is left.
fn read<'a>(stdout: &impl AsFd, buffer: &'a mut [u8], end: &End) -> Option<(&'a [u8], bool)> {
    loop {
        let mut descriptors = [
            PollFd::new(stdout, PollFlags::IN),
            PollFd::new(&end.stream, PollFlags::IN),
        ];
        poll_for(&mut descriptors, None);
        let [has_bytes, has_ended] = descriptors.map(|descriptor| !descriptor.revents().is_empty());
        if has_bytes {
            match rustix::io::read(stdout, &mut *buffer) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return None,
                Ok(read) => return Some((&buffer[..read], has_ended)),
            }
        } else if has_ended {
            return None;
        }
    }
}

/// Publishes lines in batches. A line that is not UTF-8 becomes a binary message.
///
/// # Blocking
/// As [`Topic::publish_all`]. If other publishers hold the topic for longer, it is called again: they wait for members,
/// and every wait for a member has a deadline.
fn publish(topic: &Topic, lines: Vec<Vec<u8>>) {
    let mut lines = lines.into_iter().map(message).peekable();
    while lines.peek().is_some() {
        let mut batch: Vec<Publication> = lines.by_ref().take(BATCH).collect();
        let count = batch.len();
        loop {
            let published = topic.publish_all(batch);
            if let Err(PublishError::Busy(unpublished)) = published {
                batch = unpublished;
                continue;
            }
            publish_counts::record(Way::Exec, count, &published);
            match published {
                Ok(_) => break,
                Err(error) => {
                    log::warn!("{count} lines of the command: {error}");
                    break;
                }
            }
        }
    }
}

fn message(line: Vec<u8>) -> Publication {
    match String::from_utf8(line) {
        Ok(text) => Message::text(text).into(),
        Err(error) => Message::binary(error.into_bytes()).into(),
    }
}
