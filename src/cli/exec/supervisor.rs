//! Thread `sp-exec`: starts the command, waits for its end, and starts it again.
//!
//! It waits for its wake-up, which SIGCHLD, the thread `sp-exec-out` and the end of the server use; and for the end of a
//! pause or of a deadline. It ends when the server has ended, or with a command that is not to be started again.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use standpipe::{Message, ServerHandle, Topic};

use super::backoff::Backoff;
use super::command_line::CommandLine;
use super::end::End;
use super::process::{Pipes, Process};
use super::process_group::ProcessGroup;
use super::wake_up::{Waiter, Waker};
use super::{feeder, output};
use crate::cli::Failure;
use crate::cli::args::Restart;
use crate::cli::units::Time;

/// How long a process may take to end after SIGKILL. Only the kernel can delay it, for example in a file system that does
/// not answer.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Supervisor {
    pub(super) command: CommandLine,
    pub(super) topic: Topic,
    pub(super) max_line: usize,
    pub(super) restart: Restart,
    pub(super) stop_timeout: Duration,
    pub(super) group: Arc<ProcessGroup>,
    pub(super) input: Receiver<Vec<Message>>,
    pub(super) waiter: Waiter,
    pub(super) server: ServerHandle,
}

impl Supervisor {
    /// Runs the command until the server has ended, beginning with a process that has been started.
    ///
    /// # Errors
    /// When the command has failed and is not to be started again.
    pub(super) fn run(self, first: Process) -> Result<(), Failure> {
        let mut backoff = Backoff::new();
        let mut started = Ok(first);
        // The messages that the process before did not get.
        let mut left = Vec::new();
        loop {
            let began = Instant::now();
            let ended = started.and_then(|process| self.attend(process, &mut left));
            if self.waiter.stop.is_requested() {
                return Ok(());
            }
            let end = match &ended {
                Ok(status) => format!("has ended: {status}"),
                Err(error) => format!("failed: {error}"),
            };
            if !self.starts_again(&ended) {
                log::info!("the command {} {end}; the server ends", self.command);
                // From now on, clients are told that the command has ended.
                drop(self.input);
                self.server.shutdown();
                return match ended {
                    Ok(status) if status.success() => Ok(()),
                    _ => Err(format!("the command {} {end}", self.command).into()),
                };
            }
            let pause = backoff.pause(began.elapsed());
            let again = Time(pause);
            log::warn!("the command {} {end}; next start in {again}", self.command);
            let stop = || self.waiter.stop.is_requested();
            if self.waiter.wait(Some(pause), stop) {
                return Ok(());
            }
            started = Process::start(&self.command, &self.group);
        }
    }

    fn starts_again(&self, ended: &io::Result<ExitStatus>) -> bool {
        match self.restart {
            Restart::Always => true,
            Restart::OnFailure => !ended.as_ref().is_ok_and(ExitStatus::success),
            Restart::Never => false,
        }
    }

    /// Attends to one process, from its start until all that it has printed is published and its group has ended.
    fn attend(&self, mut process: Process, left: &mut Vec<Message>) -> io::Result<ExitStatus> {
        let (id, topic) = (process.id(), self.topic.name());
        log::info!(
            "the command {} runs as process {id}; its topic is {}",
            self.command,
            topic.escape_debug()
        );
        let run = process.take_pipes().and_then(|pipes| {
            let is_output_done = AtomicBool::new(false);
            thread::scope(|scope| self.move_messages(scope, pipes, &process, &is_output_done, left))
        });
        // A process that is left alone would still hold its number, and it has no pipes any more.
        self.group.kill();
        if !self.waiter.wait(Some(KILL_TIMEOUT), || process.has_ended()) {
            self.group.forget();
            return Err(io::Error::other(format!("process {id} does not end")));
        }
        let status = process.reap()?;
        run.map(|()| status)
    }

    /// Runs the two threads of one process, until it has ended or is to be ended, and its output is published.
    fn move_messages<'scope, 'env>(
        &'env self,
        scope: &'scope thread::Scope<'scope, 'env>,
        pipes: Pipes,
        process: &'env Process,
        is_output_done: &'env AtomicBool,
        left: &mut Vec<Message>,
    ) -> io::Result<()> {
        let Pipes { stdin, stdout } = pipes;
        let (end_of_input, input_end) = End::new()?;
        let (end_of_output, output_end) = End::new()?;
        let first = std::mem::take(left);
        let feeder = Builder::new()
            .name("sp-exec-in".into())
            .spawn_scoped(scope, move || {
                feeder::run(&stdin, &self.input, &input_end, first)
            })?;
        let done = Done(is_output_done, self.waiter.waker());
        let output = Builder::new()
            .name("sp-exec-out".into())
            .spawn_scoped(scope, move || {
                let _done = done;
                output::run(&stdout, &self.topic, self.max_line, &output_end);
            })?;
        let stop = &self.waiter.stop;
        self.waiter
            .wait(None, || stop.is_requested() || process.has_ended());
        drop(end_of_input);
        // This closes the standard input of the command.
        match feeder.join() {
            Ok(messages) => *left = messages,
            Err(_) => log::error!("the thread for the input of the command panicked"),
        }
        self.group.terminate();
        let has_ended = || process.has_ended() && is_output_done.load(Ordering::Acquire);
        if !self.waiter.wait(Some(self.stop_timeout), has_ended) {
            let left = if process.has_ended() {
                "something still holds the output of the command"
            } else {
                "the command has not ended"
            };
            let limit = Time(self.stop_timeout);
            log::warn!("{left} after {limit}; its processes are killed");
        }
        self.group.kill();
        drop(end_of_output);
        if output.join().is_err() {
            log::error!("the thread for the output of the command panicked");
        }
        Ok(())
    }
}

/// Tells `sp-exec` that the output is published, also after a panic.
struct Done<'a>(&'a AtomicBool, Waker);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        let Done(is_done, waker) = self;
        is_done.store(true, Ordering::Release);
        waker.wake();
    }
}
