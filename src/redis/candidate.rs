//! [`Candidate`]: a server of which a shard uses the master, from its URL.

use std::fmt;
use std::io;
use std::path::Path;
#[cfg(feature = "tls")]
use std::sync::Arc;
use std::time::Duration;

use ::redis::io::tcp::TcpSettings;
use ::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
#[cfg(feature = "tls")]
use rustls::ClientConfig;
use socket2::TcpKeepalive;

use super::config::invalid;
#[cfg(feature = "tls")]
use super::trust::trusting;

/// How to connect to a server.
pub(super) struct Candidate {
    pub(super) info: ConnectionInfo,
    /// With `rediss://`.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// Shows the address only, because the rest has a password.
impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&address(&self.info))
    }
}

/// Reads the URLs of the candidates of one server. With `rediss://`, also the authorities that may have signed its
/// certificate: those of the file, or else those of the system.
pub(super) fn candidates(urls: &str, authorities: Option<&Path>) -> io::Result<Vec<Candidate>> {
    let servers: io::Result<Vec<_>> = urls.split(',').map(server).collect();
    let servers = servers?;
    #[cfg(feature = "tls")]
    let config = match servers.iter().any(|(_, has_tls)| *has_tls) {
        true => Some(trusting(authorities)?),
        false => None,
    };
    #[cfg(not(feature = "tls"))]
    let _ = authorities;
    let candidates = servers.into_iter().map(|(info, _has_tls)| Candidate {
        info,
        #[cfg(feature = "tls")]
        tls: config.clone().filter(|_| _has_tls),
    });
    Ok(candidates.collect())
}

/// Returns host and port, or the path, of a server, as they are shown and hashed. An IPv6 address stands in brackets.
pub(super) fn address(info: &ConnectionInfo) -> String {
    match info.addr() {
        ConnectionAddr::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        other => other.to_string(),
    }
}

/// Returns the host and port of the first candidate, which identify a shard.
pub(super) fn first_address(urls: &str) -> io::Result<String> {
    let first = urls.split(',').next().unwrap_or_default();
    Ok(address(&server(first)?.0))
}

/// Reads the URL of one server. Returns whether it has TLS. The error does not contain the URL, because it may contain a
/// password.
fn server(url: &str) -> io::Result<(ConnectionInfo, bool)> {
    let url = url.trim();
    // The crate's own TLS is not used, so it knows `redis://` only.
    let (info, has_tls) = match url.strip_prefix("rediss://") {
        Some(_) if cfg!(not(feature = "tls")) => {
            let text = "rediss:// needs the feature `tls`, which this build does not have";
            return Err(invalid(text.into()));
        }
        Some(rest) => (format!("redis://{rest}").into_connection_info(), true),
        None => (url.into_connection_info(), false),
    };
    let info = info.map_err(|error| {
        let reason = error.detail().unwrap_or("it has an unexpected form");
        invalid(format!("the URL of a redis server is not valid: {reason}"))
    })?;
    if !info.addr().is_supported() {
        return Err(invalid("the URL of a redis server is not valid".into()));
    }
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive());
    let settings = info.redis_settings().clone().set_skip_set_lib_name();
    let info = info.set_tcp_settings(tcp).set_redis_settings(settings);
    Ok((info, has_tls))
}

/// Returns when the kernel probes a silent server.
pub(super) fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_secs(15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_address_stands_in_brackets() {
        for (url, shown) in [
            ("redis://[::1]", "[::1]:6379"),
            ("redis://:secret@10.0.0.1:6380", "10.0.0.1:6380"),
            ("unix:/run/redis.sock?pass=secret", "/run/redis.sock"),
        ] {
            assert_eq!(first_address(url).expect("it is valid"), shown);
        }
    }

    #[test]
    fn url_has_one_of_the_documented_forms() {
        for url in [
            "redis://127.0.0.1",
            "redis://:secret@10.0.0.1:6380/2",
            "redis://user:secret@redis.example",
            "unix:/run/redis.sock",
        ] {
            let (info, has_tls) = server(url).expect("it is documented");
            assert!(!info.addr().to_string().contains("secret"), "{url}");
            assert!(!has_tls, "{url}");
        }
        for url in ["", "http://127.0.0.1", "redis://", "rediss://"] {
            let error = server(url)
                .expect_err("it is no URL of a server")
                .to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let read = candidates("redis://ann:secret@10.0.0.1", None).expect("it is valid");
        assert_eq!(format!("{read:?}"), "[10.0.0.1:6379]");
        let error = server("redis://:se@cret@@/x y").map(|(info, _)| info.addr().to_string());
        assert!(!format!("{error:?}").contains("cret"), "{error:?}");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn url_with_tls_has_the_same_form() {
        let (info, has_tls) = server("rediss://ann:secret@redis.example/2").expect("it is valid");
        assert!(has_tls);
        assert_eq!(address(&info), "redis.example:6379");
        let settings = info.redis_settings();
        assert_eq!((settings.username(), settings.db()), (Some("ann"), 2));
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn tls_needs_its_feature() {
        let error = server("rediss://:secret@10.0.0.1").expect_err("there is no TLS");
        assert!(error.to_string().contains("needs the feature `tls`"));
    }
}
