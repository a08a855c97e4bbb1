//! [`SocketPath`]: the path of a unix socket that this process bound. It is removed by identity and not by name,
//! because another server may have bound the same path by then.
//!
//! Looking at a path and removing it are two steps. A lock on the directory keeps other servers from binding or
//! removing a path between them.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};

/// How long to wait for the lock on the directory. Its holder makes a few system calls only. But any process that can
/// read the directory can lock it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// The interval of the attempts to lock the directory, because `flock` has no time limit.
const LOCK_INTERVAL: Duration = Duration::from_millis(5);

/// The path of a bound socket. Dropping this value removes the path, if it is still the same socket. The socket must be
/// open until then, because the inode number of a closed socket may belong to another file.
#[derive(Debug)]
pub(super) struct SocketPath {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketPath {
    /// Binds `socket` to `path`, and calls `listen`. Replaces a socket that no process listens on any more. `mode` is in
    /// force when `listen` is called, and so before a client can connect.
    ///
    /// # Blocking
    /// Waits for the lock on the directory, at most one second.
    pub(super) fn bind(
        socket: &Socket,
        path: &Path,
        mode: Option<u32>,
        listen: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<SocketPath> {
        let address = SockAddr::unix(path)?;
        let _lock = lock_directory(path)?;
        match socket.bind(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &address) => {
                fs::remove_file(path)?;
                socket.bind(&address)?;
            }
            bound => bound?,
        }
        let listening = (|| {
            if let Some(mode) = mode {
                fs::set_permissions(path, Permissions::from_mode(mode))?;
            }
            listen()?;
            fs::symlink_metadata(path)
        })();
        match listening {
            Ok(metadata) => Ok(SocketPath {
                path: path.into(),
                device: metadata.dev(),
                inode: metadata.ino(),
            }),
            Err(error) => {
                // An error of this is ignored, because the first one is returned.
                let _ = fs::remove_file(path);
                Err(error)
            }
        }
    }

    fn remove(&self) -> io::Result<()> {
        let _lock = lock_directory(&self.path)?;
        let metadata = fs::symlink_metadata(&self.path)?;
        if (metadata.dev(), metadata.ino()) == (self.device, self.inode) {
            fs::remove_file(&self.path)?;
        } else {
            log::info!(
                "unix:{} is left in place: it is not the socket of this server any more",
                self.path.display()
            );
        }
        Ok(())
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        match self.remove() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("cannot remove unix:{}: {error}", self.path.display());
            }
            _ => {}
        }
    }
}

/// Returns whether the path is a socket that no process listens on. Connecting to a file of another kind is refused
/// too, and such a file is never replaced.
fn is_stale(path: &Path, address: &SockAddr) -> bool {
    let is_socket =
        fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    // The connect does not block: while the backlog of a live server is full, it would wait.
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(address)
    };
    is_socket
        && connect().is_err_and(|error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Locks the directory of `path` until the result is dropped. Returns `None` for a directory that this process may
/// write to but not read, because it cannot be opened then.
///
/// # Blocking
/// Waits for the process that has locked the directory, at most `LOCK_TIMEOUT`.
fn lock_directory(path: &Path) -> io::Result<Option<File>> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let file = match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        opened => opened?,
    };
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                thread::park_timeout(LOCK_INTERVAL);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("another process has locked {}", directory.display()),
                ));
            }
            // The file system has no locks.
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::INVAL) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_in_force_before_the_socket_listens() {
        let path = std::env::temp_dir().join(format!("standpipe-mode-{}.sock", std::process::id()));
        for mode in [0o600, 0o660, 0o777] {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
            let listen = || {
                let metadata = fs::symlink_metadata(&path)?;
                assert_eq!(metadata.permissions().mode() & 0o7777, mode);
                socket.listen(1)
            };
            drop(SocketPath::bind(&socket, &path, Some(mode), listen).expect("the path is free"));
            assert!(!path.exists());
        }
    }

    #[test]
    fn socket_that_cannot_listen_leaves_no_path() {
        let path = std::env::temp_dir().join(format!("standpipe-not-{}.sock", std::process::id()));
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        let fails = || Err(io::ErrorKind::Other.into());
        SocketPath::bind(&socket, &path, None, fails).expect_err("listening fails");
        assert!(!path.exists());
    }
}
