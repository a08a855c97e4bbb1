//! `standpipe man`: prints the manual page of a command, for man(1).

use clap::Command;
use clap::error::ErrorKind;
use clap_mangen::Man;

use super::args::{self, ManArgs};
use super::{Failure, stdout};

pub(crate) fn run(args: &ManArgs) -> Result<(), Failure> {
    // As for every other wrong argument.
    let page = page(args.command.as_deref())
        .unwrap_or_else(|error| args::command().error(ErrorKind::InvalidValue, error).exit());
    let mut text = Vec::new();
    Man::new(page).manual("standpipe").render(&mut text)?;
    stdout::write(&text)
}

/// Returns the command whose page is wanted.
fn page(name: Option<&str>) -> Result<Command, String> {
    // The page of a command has its name without a description of `help`, which only prints the same.
    let mut command = args::command().disable_help_subcommand(true);
    // This gives each command its whole name, such as `standpipe-exec`.
    command.build();
    let Some(name) = name else {
        return Ok(command);
    };
    let names: Vec<&str> = command
        .get_subcommands()
        .map(|command| command.get_name())
        .collect();
    let found = command.find_subcommand(name);
    found.cloned().ok_or_else(|| {
        format!(
            "there is no command {name:?}; the commands are {}",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_flags() {
        let all = page(None).expect("the page of the program");
        let names: Vec<String> = (all.get_subcommands())
            .map(|command| command.get_name().to_owned())
            .collect();
        assert!(names.iter().any(|name| name == "exec"), "{names:?}");
        for name in names {
            let page = page(Some(&name)).expect("a page");
            let flags: Vec<String> = (page.get_arguments())
                .filter_map(|arg| arg.get_long().map(str::to_owned))
                .collect();
            let mut text = Vec::new();
            Man::new(page).render(&mut text).expect("memory");
            let text = String::from_utf8(text).expect("a text");
            let title = format!(".TH standpipe-{name} 1");
            assert!(text.contains(&title), "{title} is missing: {text}");
            for flag in flags {
                // roff writes a hyphen with a backslash.
                let flag = format!("\\-\\-{}", flag.replace('-', "\\-"));
                assert!(text.contains(&flag), "{name}: {flag} is missing");
            }
        }
        let error = page(Some("nothing")).expect_err("no such command");
        assert!(error.contains("exec"), "{error}");
    }
}
