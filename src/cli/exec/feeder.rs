//! Thread `sp-exec-in`: writes the clients' messages to the standard input of one process.
//!
//! It is fed by the queue of batches, and keeps their order. It waits for a batch, or for room in the pipe; `sp-exec` ends
//! both waits. A message is written once: what was begun is not repeated for the next process, and what was not begun is
//! kept for it.

use std::os::fd::AsFd;

use crossbeam_channel::{Receiver, select};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use standpipe::Message;

use super::end::End;
use super::wake_up::poll_for;

/// About how many bytes are given to the pipe in one call.
const PIECE: usize = 64 << 10;

/// The reason why the feeder stops while messages are left.
enum Stopped {
    /// The process has ended, or is about to be ended.
    End,
    /// The pipe has no reader any more.
    Closed,
}

/// Writes the messages of `batches` to `stdin` until `end` comes. Begins with those that the process before did not get, and
/// returns those that this one did not get.
pub(super) fn run(
    stdin: &impl AsFd,
    batches: &Receiver<Vec<Message>>,
    end: &End,
    mut left: Vec<Message>,
) -> Vec<Message> {
    loop {
        if left.is_empty() {
            select! {
                recv(batches) -> batch => match batch {
                    Ok(batch) => left = batch,
                    // The server has ended.
                    Err(_) => return left,
                },
                recv(end.channel) -> _ => return left,
            }
        }
        match write(stdin, &mut left, end) {
            Ok(()) => {}
            Err(Stopped::End) => return left,
            Err(Stopped::Closed) => {
                log::debug!(
                    "the command reads its standard input no more; messages wait for the next process"
                );
                // The channel only disconnects.
                let _ = end.channel.recv();
                return left;
            }
        }
    }
}

/// Writes messages and removes them.
fn write(stdin: &impl AsFd, messages: &mut Vec<Message>, end: &End) -> Result<(), Stopped> {
    while !messages.is_empty() {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for message in &*messages {
            if bytes.len() >= PIECE {
                break;
            }
            bytes.extend_from_slice(message.as_bytes());
            bytes.push(b'\n');
            ends.push(bytes.len());
        }
        let mut written = 0;
        let result = loop {
            match rustix::io::write(stdin, &bytes[written..]) {
                Ok(more) => written += more,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for_room(stdin, end),
                Err(_) => break Err(Stopped::Closed),
            }
            if written == bytes.len() {
                break Ok(());
            }
            if end.has_come() {
                break Err(Stopped::End);
            }
        };
        // A message ends behind the first byte that was not written, or before it.
        let whole = ends.partition_point(|end| *end <= written);
        let is_cut = whole > 0 && ends[whole - 1] < written || whole == 0 && written > 0;
        if is_cut {
            log::warn!("the command got only the beginning of a message before its end");
        }
        messages.drain(..whole + usize::from(is_cut));
        result?;
    }
    Ok(())
}

/// Waits until the pipe has room, its last reader has closed it, or the end comes.
fn wait_for_room(stdin: &impl AsFd, end: &End) {
    let room = PollFd::new(stdin, PollFlags::OUT);
    let ended = PollFd::new(&end.stream, PollFlags::IN);
    poll_for(&mut [room, ended], None);
}
