//! [`Inherited`]: the listening sockets that the parent process has opened, for `--listen fd:N` and `fd:NAME`.
//!
//! systemd, or another program that follows sd_listen_fds(3), announces them in `LISTEN_FDS`, `LISTEN_PID` and
//! `LISTEN_FDNAMES`. It keeps each socket for the process that comes next.

use std::env;
use std::io;

use listenfd::ListenFd;
use standpipe::Listener;

use super::values::FIRST_FD;

pub(crate) struct Inherited {
    sockets: ListenFd,
    /// The name of each socket, in the order of the descriptors. Several sockets may have the same name.
    names: Vec<String>,
    is_taken: Vec<bool>,
}

impl Inherited {
    pub(crate) fn from_env() -> Inherited {
        let sockets = ListenFd::from_env();
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        Inherited {
            names: names_of(&names, sockets.len()),
            is_taken: vec![false; sockets.len()],
            sockets,
        }
    }

    /// Takes the socket with this descriptor.
    pub(crate) fn take(&mut self, fd: usize) -> io::Result<Listener> {
        let at = fd - FIRST_FD;
        let listener = self.take_at(at)?;
        listener.ok_or_else(|| match self.is_taken.get(at) {
            Some(_) => not_found("another flag has taken this socket".into()),
            None => not_found("LISTEN_FDS and LISTEN_PID announce no such socket".into()),
        })
    }

    /// Takes every socket with this name. There is at least one.
    pub(crate) fn take_named(&mut self, name: &str) -> io::Result<Vec<Listener>> {
        let matching: Vec<usize> = (0..self.names.len())
            .filter(|at| self.names[*at] == name)
            .collect();
        if matching.is_empty() {
            return Err(not_found(match self.names.len() {
                0 => "LISTEN_FDS and LISTEN_PID announce no socket".into(),
                _ => format!("LISTEN_FDNAMES has these names: {}", self.names.join(", ")),
            }));
        }
        let mut listeners = Vec::new();
        for at in matching {
            listeners.extend(self.take_at(at)?);
        }
        if listeners.is_empty() {
            return Err(not_found("another flag has taken this socket".into()));
        }
        Ok(listeners)
    }

    /// Returns `None` if there is no such socket, or if it has been taken.
    fn take_at(&mut self, at: usize) -> io::Result<Option<Listener>> {
        // The socket may be of either kind. Asking for the wrong kind fails and leaves it in place.
        let listener = match self.sockets.take_tcp_listener(at) {
            Ok(listener) => listener.map(Listener::try_from),
            Err(_) => {
                let listener = self.sockets.take_unix_listener(at)?;
                listener.map(Listener::try_from)
            }
        };
        let Some(listener) = listener.transpose()? else {
            return Ok(None);
        };
        self.is_taken[at] = true;
        Ok(Some(listener.inherited()))
    }

    /// Warns of each socket that no flag has taken: its clients would wait in the backlog for ever.
    pub(crate) fn warn_of_rest(mut self) {
        for at in 0..self.names.len() {
            if self.is_taken[at] {
                continue;
            }
            let (fd, name) = (FIRST_FD + at, self.names[at].clone());
            log::warn!(
                "no flag takes the inherited socket fd:{fd} ({name}); nobody accepts its clients"
            );
            // Closed, because a child of this process would inherit it.
            drop(self.take_at(at));
        }
    }
}

fn not_found(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, why)
}

/// Returns the name of each of `count` sockets. A socket without a name is called `unknown`, as in systemd.
fn names_of(names: &str, count: usize) -> Vec<String> {
    let named = names.split(':').map(|name| match name {
        "" => "unknown",
        name => name,
    });
    let padded = named.chain(std::iter::repeat("unknown"));
    padded.take(count).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_socket_has_a_name() {
        assert_eq!(names_of("web:admin", 2), ["web", "admin"]);
        assert_eq!(names_of("web:web:", 3), ["web", "web", "unknown"]);
        assert_eq!(names_of("", 2), ["unknown", "unknown"]);
        assert_eq!(names_of("a:b:c", 1), ["a"]);
        assert_eq!(names_of("a", 0), [""; 0]);
    }
}
