//! Wrong: join the writer while a sender of its queue still exists.
//! Result: the writer waits until all senders are dropped, and the thread that would drop the last one waits for
//! the writer.
//! Where it happened: asm-lsp #289 (fifty processes that never ended), WhatsApp/erlang-language-platform #75 (a logger
//! held a clone of the sender).
//! Right: end the writer by a message and a flag, not by dropping the last sender, because other threads hold clones:
//! `Outbox` in `src/connection/queue/outbox.rs`. The reader joins the writer also after
//! an error (`src/server/client/session.rs`).

use std::thread;

use crossbeam_channel::{Receiver, bounded};

use crate::{Outcome, within};

pub(crate) fn run() -> Outcome {
    let wrong = within(|| {
        let (queue, queued) = bounded(8);
        let writer = thread::spawn(move || write_pump(queued));
        let _ = queue.send("the last message");
        let written = writer.join(); // `queue` still exists here, so the writer does not end.
        drop(queue);
        written.is_ok()
    })?;
    println!(
        "join, then drop: ended within a second: {}",
        wrong.is_some()
    );
    let clone = within(|| {
        let (queue, queued) = bounded(8);
        let other_clone = queue.clone(); // Held, for example, by a room, a logger or a timer.
        let writer = thread::spawn(move || write_pump(queued));
        drop(queue);
        let written = writer.join();
        drop(other_clone);
        written.is_ok()
    })?;
    println!("drop, then join, but a clone is left: {}", clone.is_some());
    let right = within(|| {
        let (queue, queued) = bounded(8);
        let writer = thread::spawn(move || write_pump(queued));
        let _ = queue.send("the last message");
        drop(queue);
        writer.join().is_ok()
    })?;
    println!("drop, then join: {}", right.is_some());
    Ok(())
}

fn write_pump(queued: Receiver<&str>) {
    for message in queued {
        println!("  written: {message}");
    }
}
