//! The list of the document's promises: each sentence is still in the document, and each named test exists.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the text with every run of white space as one space, so that a sentence may be wrapped.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Appends the text of every file of tests in this directory.
fn read_sources(directory: &Path, sources: &mut String) {
    let entries = fs::read_dir(directory).expect("the directory is a part of the project");
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() {
            read_sources(&path, sources);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "py")
        {
            sources.push_str(&fs::read_to_string(&path).expect("the file is UTF-8"));
        }
    }
}

#[test]
fn every_promise_of_the_document_names_its_tests() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for directory in ["src", "tests/it", "tests/deploy", "tests/machines"] {
        read_sources(&root.join(directory), &mut sources);
    }
    let document = unwrapped(include_str!("../../../src/PROTOCOL.md"));
    let mut wrong = Vec::new();
    let mut promise = None;
    for line in include_str!("promises.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(tests) = line.strip_prefix("    ") else {
            wrong.extend(promise.map(|promise| format!("without a test: {promise}")));
            promise = Some(line);
            if !document.contains(&unwrapped(line)) {
                wrong.push(format!("not in src/PROTOCOL.md: {line}"));
            }
            continue;
        };
        promise = None;
        for name in tests.split_whitespace() {
            let exists = match name.contains('/') {
                true => root.join(name).is_file(),
                // In Python, a test is a method. A property test has parameters on the lines below its name.
                false => ["fn NAME()", "fn NAME(\n", "def NAME(self)"]
                    .iter()
                    .any(|form| sources.contains(&form.replace("NAME", name))),
            };
            if !exists {
                wrong.push(format!("no such test: {name}"));
            }
        }
    }
    wrong.extend(promise.map(|promise| format!("without a test: {promise}")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
