//! `standpipe exec`: one process for all clients. Its lines go to a topic, and what clients send to this topic goes to its
//! standard input.
//!
//! ```text
//! reader of a client ──▶ queue of batches ──▶ sp-exec-in ──▶ pipe ──▶ command
//!                        full: the reader     full: waits             │
//!                        waits                                        ▼
//! members of the topic ◀── publish ◀────────── sp-exec-out ◀── pipe ◀─┘
//!                          policy `block`:                     full: the command waits
//!                          waits
//! ```
//!
//! Every arrow is bounded, so each side feels the other. Both directions have a thread of their own, because otherwise a
//! command that waits in a write to its output could not be given the input that it is about to read.
//!
//! Thread `sp-exec` starts the process, waits for its end, and starts it again. It owns the two other threads, which live
//! as long as one process. When the server has ended, it ends the process group.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::bounded;
use standpipe::{Hub, ServerHandle};

use super::Failure;
use super::args::ExecArgs;
use command_line::CommandLine;
use process::Process;
use process_group::ProcessGroup;
use supervisor::Supervisor;
use wake_up::{Stop, wake_up};

mod backoff;
mod command_line;
mod end;
mod feeder;
mod input;
mod lines;
mod output;
mod process;
mod process_group;
mod supervisor;
mod wake_up;

#[cfg(test)]
mod tests;

pub(crate) use input::Input;

/// How many batches of messages wait for the feeder, beside the one that it is writing. A client whose batch does not fit
/// waits and keeps it, so the queue needs no bytes of its own.
const BATCHES: usize = 1;

/// A command that runs until this is dropped.
pub(crate) struct Exec {
    input: Arc<Input>,
    group: Arc<ProcessGroup>,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl Exec {
    /// Starts the command.
    ///
    /// # Errors
    /// When it cannot be started. A later start that fails is repeated.
    pub(crate) fn start(
        args: &ExecArgs,
        hub: &Hub,
        max_line: usize,
        server: ServerHandle,
    ) -> Result<Exec, Failure> {
        let topic = hub.topic(&args.topic)?;
        let command = CommandLine::new(&args.command);
        let (stop, waiter) = wake_up()?;
        let (sender, input) = bounded(BATCHES);
        let group = Arc::new(ProcessGroup::default());
        let first = Process::start(&command, &group)
            .map_err(|error| format!("cannot run {command}: {error}"))?;
        let supervisor = Supervisor {
            command,
            topic: topic.clone(),
            max_line,
            restart: args.restart,
            stop_timeout: args.stop_timeout.0,
            group: Arc::clone(&group),
            input,
            waiter,
            server,
        };
        let thread = supervisor.spawn(first)?;
        Ok(Exec {
            input: Arc::new(Input::new(topic, sender)),
            group,
            stop,
            thread: Some(thread),
        })
    }

    /// Returns the standard input of the command, for the clients.
    pub(crate) fn input(&self) -> Arc<Input> {
        Arc::clone(&self.input)
    }

    /// Returns the processes of the command, for an exit that does not wait.
    pub(crate) fn group(&self) -> Arc<ProcessGroup> {
        Arc::clone(&self.group)
    }

    /// Ends the command. Returns why the command has ended before, if it failed and was not to be started again.
    ///
    /// # Blocking
    /// Up to `--stop-timeout` and a second more.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.stop_and_join()
    }

    fn stop_and_join(&mut self) -> Result<(), Failure> {
        self.stop.request();
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let joined = thread.join();
        joined.unwrap_or_else(|_| Err("the thread of the command panicked".into()))
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        // After `end`, there is nothing left to do. Otherwise the start has failed, and its error is reported.
        let _ = self.stop_and_join();
    }
}

impl Supervisor {
    fn spawn(self, first: Process) -> io::Result<JoinHandle<Result<(), Failure>>> {
        let group = Arc::clone(&self.group);
        let thread = Builder::new().name("sp-exec".into());
        let thread = thread.spawn(move || self.run(first));
        if thread.is_err() {
            group.kill();
        }
        thread
    }
}
