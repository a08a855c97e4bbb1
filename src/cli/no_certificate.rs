//! The certificate of a build without the feature `tls`: there is none.

use std::convert::Infallible;

use standpipe::Listener;

use super::Failure;
use super::args::ServeArgs;

/// No value of this type exists.
#[derive(Clone)]
pub(crate) struct Certificate(Infallible);

impl Certificate {
    pub(crate) fn of(_: &ServeArgs) -> Result<Option<Certificate>, Failure> {
        Ok(None)
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
