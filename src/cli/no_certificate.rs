//! The certificate of a build without the feature `tls`: there is none, and the flags for it are refused.

use std::convert::Infallible;

use standpipe::Listener;

use super::Failure;
use super::args::ServeArgs;
use super::exit::BadConfiguration;

/// No value of this type exists.
#[derive(Clone)]
pub(crate) struct Certificate(Infallible);

impl Certificate {
    /// # Errors
    /// [`BadConfiguration`] for a flag of TLS.
    pub(crate) fn of(args: &ServeArgs) -> Result<Option<Certificate>, Failure> {
        match args.tls.first() {
            None => Ok(None),
            Some(flag) => Err(BadConfiguration(format!(
                "{flag}: needs the feature `tls`, which this build does not have"
            ))
            .into()),
        }
    }

    pub(crate) fn listener(&self, _: Listener) -> Listener {
        match self.0 {}
    }

    pub(crate) fn not_after(&self) -> u64 {
        match self.0 {}
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        match self.0 {}
    }

    pub(crate) fn reload(&self) -> Result<(), String> {
        match self.0 {}
    }
}
