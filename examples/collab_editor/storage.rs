//! [`Storage`]: a directory with one file for each document.
//!
//! A file is replaced as a whole, so a crash leaves the old version. Edits from the last second before a crash are not
//! saved. The pages that have them notice that the server's text is older, and show their own version. A real
//! application would use a database instead.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::document::Saved;

/// Maximum number of files. Clients choose the names, so without a limit they could fill the disk.
const MAX_FILES: usize = 1000;

pub(crate) struct Storage {
    directory: PathBuf,
}

impl Storage {
    pub(crate) fn open(directory: String) -> io::Result<Storage> {
        fs::create_dir_all(&directory)?;
        let directory = directory.into();
        Ok(Storage { directory })
    }

    /// Returns the saved document, or `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read or is damaged, or there is no file and the directory is full.
    pub(crate) fn load(&self, name: &str) -> Result<Option<Saved>, String> {
        let read = match fs::read(self.file(name)) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let files = fs::read_dir(&self.directory).map_err(|error| error.to_string())?;
                return if files.count() < MAX_FILES {
                    Ok(None)
                } else {
                    Err(format!("the storage is full: it has {MAX_FILES} texts"))
                };
            }
            Err(error) => return Err(format!("cannot read the text: {error}")),
        };
        let saved = serde_json::from_slice(&read);
        saved
            .map(Some)
            .map_err(|_| "cannot read the text: its file is damaged".into())
    }

    pub(crate) fn save(&self, name: &str, saved: &Saved) -> io::Result<()> {
        let bytes = serde_json::to_vec(saved)?;
        let temporary = self.directory.join(format!("{name}.new"));
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        // Without the sync, a crash of the machine could leave an empty file under the final name.
        file.sync_all()?;
        fs::rename(&temporary, self.file(name))
    }

    /// Returns the path of a document's file. A name has only letters, digits and `-`, so it cannot leave the
    /// directory.
    fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(format!("{name}.json"))
    }
}
