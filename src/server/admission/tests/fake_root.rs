//! [`Root`]: files of the kernel with contents that a test has chosen.

use std::fs;
use std::path::PathBuf;

/// A directory that stands for `/`. Dropping it removes it.
pub(crate) struct Root(pub(crate) PathBuf);

impl Root {
    /// `name` is the name of the test.
    pub(crate) fn with(name: &str, files: &[(&str, &str)]) -> Root {
        let root =
            Root(std::env::temp_dir().join(format!("standpipe-{}-{name}", std::process::id())));
        for (file, text) in files {
            root.write(file, text);
        }
        root
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.0.join(file);
        let directory = path.parent().expect("a file is in a directory");
        fs::create_dir_all(directory).expect("the directory can be made");
        fs::write(path, text).expect("the file can be written");
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
