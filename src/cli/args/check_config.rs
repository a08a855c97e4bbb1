//! The flags of `check-config`.

use clap::Args;

use super::serve::ServeArgs;
use crate::cli::config::InForce;

/// The flags of `serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckConfigArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,

    /// Every value and its source.
    #[arg(skip)]
    pub(crate) in_force: Vec<InForce>,
}
