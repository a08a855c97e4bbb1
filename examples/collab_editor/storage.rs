//! [`Shelf`]: a directory with a file for each document. A file is replaced as a whole, so a crash leaves the old one.
//!
//! Here stands what a database would do. What was edited in the second before a crash is lost to the shelf; the pages
//! that have it see that the text went back, and show what they had.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::document::Saved;

/// Files on the shelf: names are the clients' to choose, and disks are finite.
const FILES: usize = 1000;

pub(crate) struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    pub(crate) fn open(directory: String) -> io::Result<Shelf> {
        fs::create_dir_all(&directory)?;
        let directory = directory.into();
        Ok(Shelf { directory })
    }

    /// What is there of a document, if anything. A file that cannot be read is no empty document.
    pub(crate) fn take(&self, name: &str) -> Result<Option<Saved>, String> {
        let read = match fs::read(self.file(name)) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let files = fs::read_dir(&self.directory).map_err(|error| error.to_string())?;
                return if files.count() < FILES {
                    Ok(None)
                } else {
                    Err(format!("there are {FILES} texts, and no more are kept"))
                };
            }
            Err(error) => return Err(format!("the text cannot be read: {error}")),
        };
        let saved = serde_json::from_slice(&read);
        saved
            .map(Some)
            .map_err(|_| "the text cannot be read: its file is damaged".into())
    }

    pub(crate) fn put(&self, name: &str, saved: &Saved) -> io::Result<()> {
        let bytes = serde_json::to_vec(saved)?;
        let beside = self.directory.join(format!("{name}.new"));
        let mut file = File::create(&beside)?;
        file.write_all(&bytes)?;
        // Or a crash of the machine could leave the new name with no contents.
        file.sync_all()?;
        fs::rename(&beside, self.file(name))
    }

    /// A name is letters, digits and `-`: it leads nowhere else.
    fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.directory).join(format!("{name}.json"))
    }
}
