//! The flags of the commands that print what packages install: `completions` and `man`.

use clap::Args;
use clap_complete::Shell;

/// The end of the help of `completions`.
const COMPLETIONS_HELP: &str = "\
bash: standpipe completions bash >~/.local/share/bash-completion/completions/standpipe
zsh:  standpipe completions zsh >~/.zfunc/_standpipe   (a directory in $fpath)
fish: standpipe completions fish >~/.config/fish/completions/standpipe.fish";

/// The end of the help of `man`.
const MAN_HELP: &str = "\
To read it: standpipe man exec | man -l -";

/// The flags of `completions`.
#[derive(Args, Clone, Debug)]
#[command(after_help = COMPLETIONS_HELP)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// The flags of `man`.
#[derive(Args, Clone, Debug)]
#[command(after_help = MAN_HELP)]
pub(crate) struct ManArgs {
    /// The command whose page is printed [default: the page of standpipe itself]
    pub(crate) command: Option<String>,
}
