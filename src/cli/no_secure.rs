//! [`Secure`] and [`TlsSession`] of a program that was built without the feature `tls`. There is no session, because the
//! URLs that need one are refused.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use socket2::Socket;

#[derive(Clone, Debug)]
pub(crate) struct Secure;

#[derive(Debug)]
pub(crate) struct TlsSession(Infallible);

pub(crate) fn explain(_: &io::Error) -> Option<String> {
    None
}

impl Secure {
    pub(crate) fn handshake(&self, _: &Socket, _: &str, _: Duration) -> Result<TlsSession, String> {
        Err("this program was built without TLS".into())
    }
}

impl TlsSession {
    pub(crate) fn read(&self, _: &Socket, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn has_data(&self, _: &Socket) -> bool {
        match self.0 {}
    }

    pub(crate) fn has_arrived(&self, _: &Socket) -> bool {
        match self.0 {}
    }

    pub(crate) fn write(&self, _: &Socket, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    pub(crate) fn send_close_notify(&self, _: &Socket) {
        match self.0 {}
    }
}
