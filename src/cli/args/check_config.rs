//! The flags of `check-config`.

use clap::Args;

use super::serve::ServeArgs;

/// The flags of `serve`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckConfigArgs {
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}
