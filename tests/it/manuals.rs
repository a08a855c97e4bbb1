//! The files that packages install: completions for shells, and manual pages.

use std::process::Command;

use crate::binary::{run, standpipe};

/// Returns what a command prints.
#[track_caller]
fn printed(mut command: Command) -> String {
    let output = command.output().expect("the command runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn bash_completes_commands_flags_and_values() {
    // The function that bash calls when a user presses the tabulator key after these words.
    const COMPLETE: &str = r#"
        eval "$SCRIPT"
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _standpipe standpipe "${@: -1}" "${@: -2:1}"
        echo "${COMPREPLY[@]}"
    "#;
    let script = printed(standpipe(&["completions", "bash"]));
    for (words, expected) in [
        (&["standpipe", "ex"][..], "exec"),
        (&["standpipe", "exec", "--stop"], "--stop-timeout"),
        (&["standpipe", "exec", "--restart", "on"], "on-failure"),
        (&["standpipe", "serve", "--max-mess"], "--max-message"),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["-c", COMPLETE, "bash"]).args(words);
        bash.env("SCRIPT", &script);
        assert_eq!(printed(bash).trim_end(), expected, "{words:?}");
    }
}

#[test]
fn manual_pages_are_printed() {
    let page = printed(standpipe(&["man"]));
    assert!(page.contains(".TH standpipe 1"), "{page}");
    let page = printed(standpipe(&["man", "exec"]));
    assert!(page.contains(".TH standpipe-exec 1"), "{page}");
    let (code, error) = run(&["man", "nothing"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.contains("the commands are serve, ") && error.contains(" exec, "),
        "{error}"
    );
}
