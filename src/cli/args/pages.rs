//! The flags of the pages.

use clap::{ArgAction, Args};

use crate::cli::values::yes_or_no;

#[derive(Args, Clone, Debug)]
pub(crate) struct PageArgs {
    /// Turns off the page at /, with which people try the server; the dashboard stays
    #[arg(long, env = "STANDPIPE_NO_PAGE", value_parser = yes_or_no, action = ArgAction::SetTrue)]
    pub(crate) no_page: bool,
}
