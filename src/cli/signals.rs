//! Signals. Only the program handles them; the library installs no handler.
//!
//! | signal | effect |
//! |---|---|
//! | SIGINT, SIGTERM, SIGQUIT | begins the shutdown; a second one exits immediately with code 130 |
//! | SIGHUP | reads the secret files again |
//! | SIGUSR1 | logs one line of figures |
//! | SIGUSR2 | nothing |
//!
//! A signal that was ignored when the process started stays ignored. `nohup` relies on that for SIGHUP, and a shell for
//! SIGINT and SIGQUIT of the commands that it starts in the background. SIGQUIT writes no core file, because it has a
//! handler: a core file would contain tokens and keys.
//!
//! `ctrlc` calls the handler of SIGINT on its thread `ctrl-c`, and thread `sp-signals` waits for the others.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator;
use standpipe::ServerHandle;

use super::notify::Notify;
use super::{Failure, exit};

/// Reads the secret files again. The error says which values stay in force.
pub(crate) type Reload = Box<dyn Fn() -> Result<(), String> + Send>;

/// Returns the line for SIGUSR1.
pub(crate) type Figures = Box<dyn Fn() -> String + Send>;

/// Called before the process exits immediately.
pub(crate) type AtExit = Box<dyn Fn() + Send + Sync>;

/// Signals that arrive from now on, until [`handle`](Self::handle) is called, wait. Without this, a SIGHUP during the
/// start would end the process.
pub(crate) struct Caught(iterator::Signals);

/// Catches every signal but SIGINT.
pub(crate) fn catch() -> io::Result<Caught> {
    let signals = [SIGHUP, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2];
    let caught = signals.into_iter().filter(|signal| !is_ignored(*signal));
    iterator::Signals::new(caught).map(Caught)
}

impl Caught {
    /// Handles the signals until the result is dropped.
    pub(crate) fn handle(
        self,
        server: ServerHandle,
        reload: Reload,
        figures: Figures,
        notify: Arc<Notify>,
        at_exit: AtExit,
    ) -> Result<SignalThread, Failure> {
        let shutdown = Arc::new(Shutdown {
            server,
            requested: AtomicBool::new(false),
            notify: Arc::clone(&notify),
            at_exit,
        });
        let on_interrupt = Arc::clone(&shutdown);
        on_ctrl_c(move || on_interrupt.request("SIGINT"))?;
        let Caught(mut signals) = self;
        let handle = signals.handle();
        let thread = Builder::new().name("sp-signals".into()).spawn(move || {
            for signal in signals.forever() {
                match signal {
                    SIGTERM => shutdown.request("SIGTERM"),
                    SIGQUIT => shutdown.request("SIGQUIT"),
                    SIGHUP => {
                        let _until_read = notify.reloading();
                        match reload() {
                            Ok(()) => log::info!("SIGHUP: reloaded"),
                            Err(error) => {
                                log::error!(
                                    "SIGHUP: the old values of a file stay in force: {error}"
                                );
                            }
                        }
                    }
                    SIGUSR1 => log::info!("{}", figures()),
                    _ => log::debug!("signal {signal} has no effect"),
                }
            }
        })?;
        Ok(SignalThread {
            handle,
            thread: Some(thread),
        })
    }
}

/// Thread `sp-signals`: waits for signals, and for the end. Dropping this value ends and joins it.
pub(crate) struct SignalThread {
    handle: iterator::Handle,
    thread: Option<JoinHandle<()>>,
}

impl Drop for SignalThread {
    /// # Blocking
    /// Until an action that has begun is complete: a file is read, or a line is logged.
    fn drop(&mut self) {
        self.handle.close();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            log::error!("the thread for signals panicked");
        }
    }
}

/// The shutdown that a signal requests. Two threads call this.
struct Shutdown {
    server: ServerHandle,
    requested: AtomicBool,
    notify: Arc<Notify>,
    at_exit: AtExit,
}

impl Shutdown {
    /// Begins the shutdown, or exits if it has begun.
    fn request(&self, signal: &str) {
        let again = self.requested.swap(true, Ordering::Relaxed);
        if again || self.server.is_shutting_down() {
            (self.at_exit)();
            process::exit(exit::INTERRUPTED);
        }
        log::info!("{signal}: shutting down; a second signal exits immediately");
        self.server.shutdown();
        self.notify.stopping();
    }
}

/// Calls `action` for SIGINT, unless SIGINT is ignored.
fn on_ctrl_c(action: impl Fn() + Send + 'static) -> Result<(), Failure> {
    // `ctrlc` sees an ignored signal as one that has a handler, also where /proc is missing.
    match ctrlc::try_set_handler(action) {
        Err(ctrlc::Error::MultipleHandlers) => {
            log::debug!("SIGINT was ignored at the start, and stays ignored");
            Ok(())
        }
        set => Ok(set?),
    }
}

/// Calls `action` for SIGINT, SIGTERM and SIGHUP, unless they are ignored. For a command that must leave the terminal in
/// order and then exits.
pub(crate) fn on_end(action: impl Fn() + Clone + Send + 'static) -> Result<(), Failure> {
    on_ctrl_c(action.clone())?;
    let signals = [SIGTERM, SIGHUP];
    let caught = signals.into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = iterator::Signals::new(caught)?;
    // The thread is not joined, because the action ends the process.
    Builder::new()
        .name("sp-signals".into())
        .spawn(move || signals.forever().for_each(|_| action()))?;
    Ok(())
}

/// Returns whether the signal is ignored. Without /proc this is not known, and the signal is handled.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_in(&status, signal)
}

/// `status` is `/proc/self/status`, whose line `SigIgn` has a bit for each signal, in hexadecimal (proc_pid_status(5)).
fn ignored_in(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::SIGINT;

    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        // As under `nohup`, in a process of Rust's standard library: SIGHUP is 1, SIGPIPE is 13.
        let status = "Name:\tx\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
        assert!(ignored_in(status, SIGHUP));
        assert!(ignored_in(status, 13));
        for signal in [SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2] {
            assert!(!ignored_in(status, signal), "{signal}");
        }
        for status in ["", "SigIgn:\n", "SigIgn:\tx\n"] {
            assert!(!ignored_in(status, SIGHUP), "{status}");
        }
        assert!(!is_ignored(SIGTERM));
    }
}
