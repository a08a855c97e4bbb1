//! The flags of `serve` for proxies in front of it.

use clap::{ArgAction, Args};
use standpipe::{Config, Listener, TrustedProxy};

use crate::cli::exit::BadConfiguration;
use crate::cli::values::yes_or_no;

/// Which proxies are trusted, and how they name their clients.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProxyArgs {
    /// A network such as 10.0.0.0/8, an address, or unix for the clients of Unix sockets: from there, the address of the
    /// client is the right-most one of X-Forwarded-For or Forwarded that is not a trusted proxy. May be given more than
    /// once [default: none, so that these headers are not believed]
    #[arg(
        long,
        env = "STANDPIPE_TRUSTED_PROXY",
        value_name = "CIDR|unix",
        value_delimiter = ','
    )]
    trusted_proxy: Vec<TrustedProxy>,

    /// Takes the address of the client from the PROXY protocol, version 1 or 2, on each --listen. Only the proxies of
    /// --trusted-proxy can then connect there
    #[arg(long, env = "STANDPIPE_PROXY_PROTOCOL", value_parser = yes_or_no, action = ArgAction::SetTrue)]
    pub(crate) proxy_protocol: bool,
}

impl ProxyArgs {
    /// Checks the flags against each other, and against `--admin-open`.
    ///
    /// # Errors
    /// [`BadConfiguration`] names the flag that is wrong beside the others.
    pub(crate) fn check(&self, is_admin_open: bool) -> Result<(), BadConfiguration> {
        if self.proxy_protocol && self.trusted_proxy.is_empty() {
            return Err(BadConfiguration(
                "--proxy-protocol: without --trusted-proxy nobody could connect; name the addresses of the proxies, such as \
                 --trusted-proxy 10.0.0.0/8"
                    .into(),
            ));
        }
        if is_admin_open && !self.trusted_proxy.is_empty() {
            return Err(BadConfiguration(
                "--admin-open: cannot be used with --trusted-proxy, because the clients of a proxy would not need a key; use \
                 --admin-listen"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Adds the trusted proxies to the configuration of the server.
    pub(super) fn apply(&self, config: Config) -> Config {
        config.trusted_proxies(self.trusted_proxy.clone())
    }

    /// Returns the listener of a `--listen` flag, which expects PROXY headers if the flags say so.
    pub(crate) fn listener(&self, listener: Listener) -> Listener {
        if self.proxy_protocol {
            listener.proxy_protocol()
        } else {
            listener
        }
    }
}
