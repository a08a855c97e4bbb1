//! [`Notify`]: tells the service manager that started this process how far the server is (sd_notify(3)).
//!
//! The service manager names a datagram socket in `NOTIFY_SOCKET`. Without that variable, nothing is sent. Each
//! notification waits at most 1 s, and the one of the watchdog does not wait.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use standpipe::{ServerHandle, TickCallback};

/// How long a notification may wait for the service manager.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Tells the service manager the state of the process.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    socket: Option<SocketAddr>,
    /// The service manager ends the process if it is not told that the process is alive for this long.
    watchdog: Option<Duration>,
    is_stopping: AtomicBool,
    /// Only the first failure is logged, because the next ones have the same reason.
    has_failed: AtomicBool,
}

impl Notify {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(crate) fn from_env() -> Arc<Notify> {
        let socket = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = socket.and_then(|name| match address(&name) {
            Ok(address) => Some(address),
            Err(error) => {
                let name = name.to_string_lossy();
                log::warn!("NOTIFY_SOCKET={name}: the service manager is not notified: {error}");
                None
            }
        });
        let (micros, pid) = (env::var("WATCHDOG_USEC"), env::var("WATCHDOG_PID"));
        Arc::new(Notify {
            watchdog: watchdog(micros.ok().as_deref(), pid.ok().as_deref(), process::id()),
            socket,
            ..Notify::default()
        })
    }

    /// Tells that clients can connect. `status` is for people: `systemctl status` shows it.
    pub(crate) fn ready(&self, status: impl fmt::Display) {
        self.send(&format!("READY=1\nSTATUS={status}\n"), Some(TIMEOUT));
    }

    /// Tells that the files of the server are read again, until the result is dropped.
    pub(crate) fn reloading(&self) -> Reloading<'_> {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        let text = format!("RELOADING=1\nMONOTONIC_USEC={micros}\n");
        self.send(&text, Some(TIMEOUT));
        Reloading(self)
    }

    /// Tells that the server ends. It is told once, although several threads may notice.
    pub(crate) fn stopping(&self) {
        if !self.is_stopping.swap(true, Ordering::Relaxed) {
            self.send("STOPPING=1\n", Some(TIMEOUT));
        }
    }

    /// Tells regularly that the process is alive, if the service manager wants to know, and when the server ends for
    /// another reason than a signal. The thread that checks the deadlines of all clients does it. So a server whose
    /// deadlines are not checked any more is restarted.
    pub(crate) fn watch(self: &Arc<Self>, server: &ServerHandle) -> Option<TickCallback> {
        self.socket.as_ref()?;
        let (notify, handle) = (Arc::clone(self), server.clone());
        let told = Mutex::new(None::<Instant>);
        Some(server.on_tick(move || {
            if handle.is_shutting_down() {
                notify.stopping();
            }
            let Some(interval) = notify.watchdog else {
                return;
            };
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            // A third, because the ticks come five times per second, and one of them may be late.
            if told.is_none_or(|told| told.elapsed() >= interval / 3) {
                *told = Some(Instant::now());
                notify.send("WATCHDOG=1\n", None);
            }
        }))
    }

    /// Sends a notification. Waits at most `limit` while the socket is full, or not at all.
    fn send(&self, text: &str, limit: Option<Duration>) {
        let Some(address) = &self.socket else {
            return;
        };
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_write_timeout(limit)?;
            socket.set_nonblocking(limit.is_none())?;
            socket.send_to_addr(text.as_bytes(), address)
        });
        if let Err(error) = sent
            && !self.has_failed.swap(true, Ordering::Relaxed)
        {
            log::warn!("the service manager could not be notified: {error}");
        }
    }
}

/// The files of the server are being read again.
#[must_use = "dropping this value tells that the files have been read"]
pub(crate) struct Reloading<'a>(&'a Notify);

impl Drop for Reloading<'_> {
    /// # Blocking
    /// At most 1 s, while the socket of the service manager is full.
    fn drop(&mut self) {
        if !self.0.is_stopping.load(Ordering::Relaxed) {
            self.0.send("READY=1\n", Some(TIMEOUT));
        }
    }
}

/// Returns the address of `NOTIFY_SOCKET`: a path, or an abstract name after `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    if name.as_bytes().starts_with(b"/") {
        return SocketAddr::from_pathname(name);
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "it is neither an absolute path nor an abstract name",
    ))
}

/// Returns how often the service manager wants to hear of process `own`, by the values of `WATCHDOG_USEC` and
/// `WATCHDOG_PID`.
fn watchdog(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    // A child inherits the variables of its parent.
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let micros: u64 = micros?.parse().ok()?;
    (micros > 0).then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_is_a_path_or_an_abstract_name() {
        let path = address(OsStr::new("/run/notify")).expect("a path");
        assert_eq!(path.as_pathname(), Some("/run/notify".as_ref()));
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt;
            let name = address(OsStr::new("@a/b")).expect("an abstract name");
            assert_eq!(name.as_abstract_name(), Some(&b"a/b"[..]));
        }
        for name in ["", "run/notify", "vsock:2:1"] {
            assert!(address(OsStr::new(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn watchdog_is_for_the_process_that_it_names() {
        let half = Some(Duration::from_millis(500));
        assert_eq!(watchdog(Some("500000"), None, 7), half);
        assert_eq!(watchdog(Some("500000"), Some("7"), 7), half);
        for (micros, pid) in [
            (Some("500000"), Some("8")),
            (Some("500000"), Some("")),
            (Some("0"), None),
            (Some("x"), None),
            (None, Some("7")),
        ] {
            assert_eq!(watchdog(micros, pid, 7), None, "{micros:?}, {pid:?}");
        }
    }
}
