//! The links of a build without the feature `redis`: there are none.

use std::convert::Infallible;
use std::io;

use prometheus_client::registry::Registry;
use standpipe::{HubConfig, ServerHandle};

use super::Failure;
use super::args::ServeArgs;

/// No value of this type exists.
#[derive(Clone)]
pub(crate) struct Links(Infallible);

/// What the dashboard shows of a link.
pub(crate) type Machines = ();

impl Links {
    pub(crate) fn start(_: &ServeArgs, _: &HubConfig, _: usize) -> Result<Option<Links>, Failure> {
        Ok(None)
    }

    pub(crate) fn hub(_: Option<&Links>, config: HubConfig) -> HubConfig {
        config
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        match self.0 {}
    }

    pub(crate) fn readiness(&self) -> (u16, String) {
        match self.0 {}
    }

    pub(crate) fn register(&self, _: &mut Registry) {
        match self.0 {}
    }

    pub(crate) fn figures(&self) -> String {
        match self.0 {}
    }

    pub(crate) fn machines(&self) -> Machines {
        match self.0 {}
    }

    pub(crate) fn claim(&self, _: &str, _: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self.0 {}
    }

    pub(crate) fn set_claim(&self, _: &str, _: &[u8]) {
        match self.0 {}
    }

    pub(crate) fn release_claim(&self, _: &str) {
        match self.0 {}
    }

    pub(crate) fn works_alone(&self, _: &io::Error) -> bool {
        match self.0 {}
    }

    pub(crate) fn disconnect_user(&self, _: &str, _: u16, _: &str) -> io::Result<()> {
        match self.0 {}
    }

    pub(crate) fn follow_disconnects(&self, _: ServerHandle) {
        match self.0 {}
    }

    pub(crate) fn shutdown(&self) {
        match self.0 {}
    }
}
