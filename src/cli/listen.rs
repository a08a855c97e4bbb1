//! Binds the listeners of `standpipe serve`, or takes them over from the parent process.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use standpipe::{Config, ConnectionSender, Listener, Server};

use super::Failure;
use super::args::ServeArgs;
use super::certificate::Certificate;
use super::endpoint::{ADMIN, Endpoint};
use super::exit::BadConfiguration;
use super::inherited::Inherited;
use super::values::Listen;

/// How many free ports are tried for a name with addresses of both families. The port that is free for one family may
/// be taken for the other.
const PORT_ATTEMPTS: usize = 16;

/// How many clients of this process can wait to be accepted.
const OWN_CLIENTS: usize = 8;

/// Binds every listener. Returns the server and where it can be reached. The admin listeners are the last ones. With a
/// certificate, every TCP listener speaks TLS, and the channel is for clients of this process, which need no TLS.
pub(crate) fn listen(
    args: &ServeArgs,
    config: Config,
    certificate: Option<&Certificate>,
) -> Result<(Server, Vec<Endpoint>, Option<ConnectionSender>), Failure> {
    args.proxies.check(args.admin_open)?;
    let mut inherited = Inherited::from_env();
    let mut listeners = Vec::new();
    let mut endpoints = Vec::new();
    let public = args.listeners().map(|listen| (listen, false));
    let admin = args.admin_listeners().map(|listen| (listen, true));
    for (listen, is_admin) in public.chain(admin) {
        let bound = bind(listen, &mut inherited)
            .map_err(|error| format!("cannot listen on {listen}: {error}"))?;
        for listener in bound {
            let has_proxy_header = args.proxies.proxy_protocol && !is_admin;
            let endpoint = Endpoint::new(listen, &listener, is_admin, has_proxy_header);
            endpoints.push(endpoint.tls(certificate.is_some()));
            let listener = match certificate {
                Some(certificate) => certificate.listener(listener),
                None => listener,
            };
            listeners.push(if is_admin {
                listener.tag(ADMIN).same_origin_only()
            } else {
                args.proxies.listener(listener)
            });
        }
    }
    inherited.warn_of_rest();
    let channel = certificate.map(|_| {
        let (channel, listener) = Listener::channel(OWN_CLIENTS);
        listeners.push(listener);
        channel
    });
    let server = Server::from_listeners(listeners, config);
    // The error is unwrapped, because a wrong configuration has its own exit code.
    let server = server.map_err(|error| match error.downcast::<standpipe::ConfigError>() {
        Ok(error) => Failure::from(error),
        Err(error) => error.into(),
    })?;
    Ok((server, endpoints, channel))
}

/// Returns where the server will be reached, as far as that is known before the listeners are bound.
///
/// # Errors
/// As [`listen`], for flags that contradict each other.
pub(crate) fn expected(args: &ServeArgs) -> Result<Vec<Endpoint>, BadConfiguration> {
    args.proxies.check(args.admin_open)?;
    let has_proxy_header = args.proxies.proxy_protocol;
    let public = args
        .listeners()
        .flat_map(|listen| Endpoint::expected(listen, false, has_proxy_header));
    let admin = args
        .admin_listeners()
        .flat_map(|listen| Endpoint::expected(listen, true, false));
    Ok(public.chain(admin).collect())
}

/// Binds the listeners of one flag. A name with addresses of both families gets two, and so may a name of inherited
/// sockets.
fn bind(listen: &Listen, inherited: &mut Inherited) -> io::Result<Vec<Listener>> {
    let listener = match listen {
        Listen::Tcp(address) => return bind_tcp(address),
        Listen::Unix {
            path,
            mode: Some(mode),
        } => Listener::unix_with_mode(path, *mode),
        Listen::Unix { path, mode: None } => Listener::unix(path),
        Listen::Fd(fd) => inherited.take(*fd),
        Listen::FdName(name) => return inherited.take_named(name),
    };
    Ok(vec![listener?])
}

/// Binds one listener for each address family that the name has addresses of. A browser on the same machine resolves
/// `localhost` to either family.
fn bind_tcp(address: &str) -> io::Result<Vec<Listener>> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let is_port_free = addresses.iter().all(|address| address.port() == 0);
    let mut attempts = if is_port_free { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        match bind_families(&addresses) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            bound => return bound,
        }
    }
}

/// Binds one listener for each address family. All of them get the same port. A family that this machine does not have
/// is left out, if there is another one.
fn bind_families(addresses: &[SocketAddr]) -> io::Result<Vec<Listener>> {
    let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv4());
    let mut listeners: Vec<Listener> = Vec::new();
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for mut family in [v4, v6] {
        if family.is_empty() {
            continue;
        }
        if let Some(first) = listeners.first().and_then(Listener::local_addr) {
            for address in &mut family {
                address.set_port(first.port());
            }
        }
        match Listener::bind(&family[..]) {
            Ok(listener) => listeners.push(listener),
            Err(error) if is_family_missing(&error) => failed = error,
            Err(error) => return Err(error),
        }
    }
    if listeners.is_empty() {
        return Err(failed);
    }
    Ok(listeners)
}

/// Returns whether this machine has no address of the family, for example because IPv6 is turned off.
fn is_family_missing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Returns the addresses that were bound.
    fn bound(addresses: &[&str]) -> io::Result<Vec<SocketAddr>> {
        let addresses: Vec<_> = (addresses.iter())
            .map(|address| address.parse().expect("an address"))
            .collect();
        let listeners = bind_families(&addresses)?;
        Ok(listeners.iter().filter_map(Listener::local_addr).collect())
    }

    #[test]
    fn name_of_both_families_gets_one_port() {
        // Without IPv6, there is nothing to test.
        if TcpListener::bind("[::1]:0").is_err() {
            return;
        }
        let addresses = ["[::1]:0", "127.0.0.1:0", "127.0.0.2:0"];
        let first = (0..PORT_ATTEMPTS).find_map(|_| bound(&addresses).ok());
        let first = first.expect("a port that is free for both families");
        assert_eq!(first.len(), 2, "{first:?}");
        assert!(first[0].is_ipv4() && first[1].is_ipv6(), "{first:?}");
        assert_eq!(first[0].port(), first[1].port());
    }

    #[test]
    fn missing_family_is_left_out() {
        // 192.0.2.1 and 2001:db8::1 are for documentation, so no machine has them.
        let v4 = bound(&["127.0.0.1:0", "[2001:db8::1]:0"]).expect("IPv4 suffices");
        assert!(v4.len() == 1 && v4[0].is_ipv4(), "{v4:?}");
        let none = bound(&["192.0.2.1:0", "[2001:db8::1]:0"]).expect_err("no address is ours");
        assert!(is_family_missing(&none), "{none}");
    }

    #[test]
    fn family_whose_port_is_taken_is_an_error() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("its address").to_string();
        let error = bound(&[&address, "[::1]:0"]).expect_err("the port is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
