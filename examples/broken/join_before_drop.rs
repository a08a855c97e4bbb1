//! Wrong: join the writer while its queue's sender is still in hand.
//! What happens: the writer waits for the queue to end, and the one who would end it waits for the writer.
//! Where it happened: asm-lsp #289 (fifty processes that never ended), WhatsApp/erlang-language-platform #75 (a logger
//! held a clone of the sender).
//! Right: the end is a message and a flag, not the drop of the last clone, for others hold clones too: `Outbox` in
//! `src/connection/queue.rs`; and a scope joins in `src/connection/life.rs`, on the unhappy path as well.

use std::thread;

use crossbeam_channel::{Receiver, bounded};

use crate::{Outcome, within};

pub(crate) fn run() -> Outcome {
    let wrong = within(|| {
        let (queue, waiting) = bounded(8);
        let writer = thread::spawn(move || write_pump(waiting));
        let _ = queue.send("the last message");
        let written = writer.join(); // `queue` lives to the end of this block.
        drop(queue);
        written.is_ok()
    })?;
    println!(
        "join, then drop: ended within a second: {}",
        wrong.is_some()
    );
    let clone = within(|| {
        let (queue, waiting) = bounded(8);
        let somebody_else = queue.clone(); // A room, a logger, a timer.
        let writer = thread::spawn(move || write_pump(waiting));
        drop(queue);
        let written = writer.join();
        drop(somebody_else);
        written.is_ok()
    })?;
    println!("drop, then join, but a clone is left: {}", clone.is_some());
    let right = within(|| {
        let (queue, waiting) = bounded(8);
        let writer = thread::spawn(move || write_pump(waiting));
        let _ = queue.send("the last message");
        drop(queue);
        writer.join().is_ok()
    })?;
    println!("drop, then join: {}", right.is_some());
    Ok(())
}

fn write_pump(waiting: Receiver<&str>) {
    for message in waiting {
        println!("  written: {message}");
    }
}
