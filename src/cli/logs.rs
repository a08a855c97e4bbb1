//! The log: lines go into a bounded queue, and one thread writes them to standard error.
//!
//! Whoever reads standard error may stop reading, and then a write to it waits. No thread that serves a client may wait
//! for that: when the queue is full, lines are dropped and counted, and the count is the next line that gets through.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;
use std::{env, panic};

use crossbeam_channel::{Receiver, Sender};
use env_logger::{Target, WriteStyle};
use log::LevelFilter;

/// Lines that may wait for standard error.
const LINES: usize = 4096;

/// How long the end of the process waits for the last lines to be read.
const LAST_LINES: Duration = Duration::from_secs(1);

enum Item {
    Line(Vec<u8>),
    /// Answered when all lines before it are written.
    Flush(Sender<()>),
}

/// The queue's end that everybody logs into.
struct Queue {
    lines: Sender<Item>,
    dropped: Arc<AtomicU64>,
}

impl Write for Queue {
    /// env_logger gives whole lines. Never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for the last lines when it is dropped, but not for ever.
pub(crate) struct Log(Sender<Item>);

impl Drop for Log {
    /// # Blocking
    /// Until what is queued is written, at most a second. Woken by thread `sp-log`.
    fn drop(&mut self) {
        let (done, written) = crossbeam_channel::bounded(1);
        if self.0.send_timeout(Item::Flush(done), LAST_LINES).is_ok() {
            let _ = written.recv_timeout(LAST_LINES);
        }
    }
}

/// Starts the log. `RUST_LOG` wins over `level`.
pub(crate) fn start(level: LevelFilter) -> io::Result<Log> {
    let (lines, waiting) = crossbeam_channel::bounded(LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&dropped);
    Builder::new()
        .name("sp-log".into())
        .spawn(move || write_lines(&waiting, &counted, &mut io::stderr()))?;
    let colour = io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none();
    let queue = Queue {
        lines: lines.clone(),
        dropped,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .parse_default_env()
        // Below info it logs what clients send, which is not ours to show.
        .filter_module("tungstenite", LevelFilter::Info)
        .write_style(if colour {
            WriteStyle::Always
        } else {
            WriteStyle::Never
        })
        .target(Target::Pipe(Box::new(queue)))
        .init();
    // The standard hook writes to standard error itself, and would wait.
    panic::set_hook(Box::new(|panicked| log::error!("{panicked}")));
    Ok(Log(lines))
}

/// Thread `sp-log`. Fed by every thread that logs, in the order of the queue; it ends with the process.
///
/// # Blocking
/// On the queue, and on whoever reads standard error: which is why it is a thread of its own.
fn write_lines(waiting: &Receiver<Item>, dropped: &AtomicU64, out: &mut impl Write) {
    for item in waiting {
        // A closed standard error is no reason to stop taking lines from the queue.
        match item {
            Item::Line(line) => {
                let missing = dropped.swap(0, Ordering::Relaxed);
                if missing > 0 {
                    let _ = writeln!(
                        out,
                        "[{missing} lines of the log were dropped here: nobody read it]"
                    );
                }
                let _ = out.write_all(&line);
            }
            Item::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_nobody_reads_stops_nobody_and_says_what_is_missing() {
        let (lines, waiting) = crossbeam_channel::bounded(2);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut queue = Queue {
            lines,
            dropped: Arc::clone(&dropped),
        };
        for n in 0..5 {
            queue
                .write_all(format!("line {n}\n").as_bytes())
                .expect("it never fails");
        }
        drop(queue);
        let mut out = Vec::new();
        write_lines(&waiting, &dropped, &mut out);
        let out = String::from_utf8(out).expect("text");
        assert!(
            out.contains("[3 lines of the log were dropped here"),
            "{out}"
        );
        assert!(out.ends_with("line 0\nline 1\n"), "{out}");
    }
}
