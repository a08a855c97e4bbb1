//! [`MadeKey`]: the key that a server without a key file makes at its start, and the file in which `standpipe pub` and
//! `standpipe top` find it.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use rustix::rand::{GetRandomFlags, getrandom};

/// The number of random bytes of a key.
const KEY_BYTES: usize = 32;

/// A key that only this process knows, and the files that tell the user's other programs. Dropping it removes the files,
/// unless another server has replaced them.
pub(crate) struct MadeKey {
    key: String,
    files: Vec<PathBuf>,
}

impl MadeKey {
    /// Makes a key of random bytes from the kernel.
    ///
    /// # Blocking
    /// Waits for the kernel's random number generator while the machine boots.
    pub(crate) fn make() -> io::Result<MadeKey> {
        let mut bytes = [0; KEY_BYTES];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        // A browser sends the key as a subprotocol, which may contain only some characters.
        let key = BASE64URL_NOPAD.encode(&bytes);
        Ok(MadeKey {
            key,
            files: Vec::new(),
        })
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Writes the key into the file `NAME.key`, in the first directory that allows it. Returns the path.
    ///
    /// # Errors
    /// The text names each directory that was tried.
    pub(crate) fn store(&mut self, name: &str) -> Result<PathBuf, String> {
        // Two listeners may have one port in two address families.
        let named = |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem == name);
        if let Some(path) = self.files.iter().find(named) {
            return Ok(path.clone());
        }
        let mut errors = Vec::new();
        for directory in directories() {
            let shown = directory.path.display().to_string();
            match directory
                .prepare()
                .and_then(|()| write(&directory.path, name, &self.key))
            {
                Ok(path) => {
                    self.files.push(path.clone());
                    return Ok(path);
                }
                Err(error) => errors.push(format!("{shown}: {error}")),
            }
        }
        if errors.is_empty() {
            errors.push("neither XDG_RUNTIME_DIR nor HOME is set".into());
        }
        Err(errors.join("; "))
    }
}

impl Drop for MadeKey {
    fn drop(&mut self) {
        for path in &self.files {
            // A later server on the same port replaces the file.
            if read(path).is_some_and(|key| key == self.key) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Returns the key that a server has stored in the file `NAME.key`, if there is one. If there are several, the newest is
/// read.
pub(crate) fn find(name: &str) -> Option<String> {
    let name = format!("{name}.key");
    let files = directories()
        .into_iter()
        .map(|directory| directory.path.join(&name));
    // A read of a pipe would wait.
    let written = |path: &PathBuf| {
        let file = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        file.modified().ok()
    };
    let (_, newest) = files
        .filter_map(|path| Some((written(&path)?, path)))
        .max_by_key(|(written, _): &(SystemTime, PathBuf)| *written)?;
    read(&newest)
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// A directory for key files, and an existing directory above it.
struct Directory {
    above: PathBuf,
    path: PathBuf,
}

/// Returns the directories for key files, the preferred one first. A variable that is empty or a relative path is
/// ignored, as the XDG Base Directory Specification says.
fn directories() -> Vec<Directory> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let below = |above: PathBuf, rest: &str| Directory {
        path: above.join(rest),
        above,
    };
    let runtime = absolute("XDG_RUNTIME_DIR").map(|above| below(above, "standpipe"));
    let state = absolute("HOME").map(|above| below(above, ".local/state/standpipe"));
    runtime.into_iter().chain(state).collect()
}

impl Directory {
    /// Makes the directory if it is missing, and lets only its owner enter it.
    fn prepare(&self) -> io::Result<()> {
        // The directory above is not made, because a missing one is a mistake of the environment.
        let above = fs::metadata(&self.above)?;
        let own = rustix::process::geteuid().as_raw();
        if !is_safe(above.uid(), above.mode(), own) {
            let name = self.above.display();
            return Err(io::Error::other(format!("other users can change {name}")));
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)?;
        let metadata = fs::symlink_metadata(&self.path)?;
        if !metadata.is_dir() || metadata.uid() != own {
            return Err(io::Error::other("not a directory of this user"));
        }
        if metadata.mode() & 0o077 != 0 {
            fs::set_permissions(&self.path, Permissions::from_mode(0o700))?;
        }
        Ok(())
    }
}

/// Whether only the user `own` and root can replace what is in a directory with this owner and mode. Otherwise,
/// another user could replace the directory after the check, and read the key. So the
/// environment of another user, as `sudo -E` keeps it, is not used.
fn is_safe(owner: u32, mode: u32, own: u32) -> bool {
    let is_sticky = mode & 0o1000 != 0;
    (owner == own || owner == 0) && (mode & 0o022 == 0 || is_sticky)
}

/// Writes a file that only its owner can read. A reader sees the old file or the whole new one.
fn write(directory: &Path, name: &str, key: &str) -> io::Result<PathBuf> {
    let path = directory.join(format!("{name}.key"));
    let unfinished = directory.join(format!(".{name}.{}", std::process::id()));
    // A process with the same id may have been killed here.
    let _ = fs::remove_file(&unfinished);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| writeln!(file, "{key}"))
        .and_then(|()| fs::rename(&unfinished, &path));
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written.map(|()| path)
}

/// Returns the key in a file that a server has written.
fn read(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_is_random_and_fits_into_a_subprotocol() {
        let (a, b) = (MadeKey::make(), MadeKey::make());
        let (a, b) = (a.expect("random bytes"), b.expect("random bytes"));
        assert_ne!(a.key(), b.key());
        assert_eq!(a.key().len(), 43);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        assert!(a.key().bytes().all(allowed), "{}", a.key());
    }

    #[test]
    fn only_loopback_hosts_have_a_key_file() {
        for host in [
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "127.0.0.9",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "example.com",
            "10.0.0.1",
            "[::]",
            "localhost.example.com",
            "",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn directory_that_others_can_change_is_not_used() {
        for (owner, mode, expected) in [
            (1000, 0o700, true),
            (1000, 0o755, true),
            (0, 0o755, true),
            (0, 0o1777, true), // A file in /tmp can be replaced by its owner only.
            (1000, 0o777, false),
            (1000, 0o775, false),
            (0, 0o777, false),
            (1001, 0o700, false),
            (1001, 0o1777, false),
        ] {
            assert_eq!(is_safe(owner, mode, 1000), expected, "{owner} {mode:o}");
        }
        assert!(
            !is_safe(1000, 0o700, 0),
            "root in the environment of a user"
        );
        let above = std::env::temp_dir().join(format!("standpipe-above-{}", std::process::id()));
        fs::create_dir(&above).expect("a new directory");
        fs::set_permissions(&above, Permissions::from_mode(0o777)).expect("own directory");
        let path = above.join("standpipe");
        let directory = Directory { above, path };
        let error = directory.prepare().expect_err("everybody can write above");
        assert!(error.to_string().starts_with("other users can change"));
        fs::remove_dir(&directory.above).expect("nothing was made in it");
    }

    #[test]
    fn written_key_replaces_another_and_is_private() {
        let directory = Directory {
            above: std::env::temp_dir(),
            path: std::env::temp_dir().join(format!("standpipe-key-{}", std::process::id())),
        };
        fs::create_dir(&directory.path).expect("a new directory");
        fs::set_permissions(&directory.path, Permissions::from_mode(0o755)).expect("own directory");
        directory.prepare().expect("own directory");
        let mode = |path: &Path| fs::metadata(path).expect("it exists").mode() & 0o777;
        assert_eq!(mode(&directory.path), 0o700);
        write(&directory.path, "1", "old").expect("writable");
        let path = write(&directory.path, "1", "new").expect("writable");
        assert_eq!((read(&path).as_deref(), mode(&path)), (Some("new"), 0o600));
        let own = |key: &str| MadeKey {
            key: key.into(),
            files: vec![path.clone()],
        };
        drop(own("old"));
        assert!(path.exists(), "another server's file is kept");
        drop(own("new"));
        assert!(!path.exists());
        fs::remove_dir(&directory.path).expect("nothing else was left in it");
    }
}
