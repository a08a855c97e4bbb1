//! The lines that the server prints at its start: where it listens, its dashboard, and a command that publishes.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::access::{Access, Keys};
use super::endpoint::{Endpoint, absolute};
use super::journal::is_journal;
use super::made_key::MadeKey;
use super::stdout;

/// Stores a key that was made at the start, and prints where the server listens, and through which `servers` it shares its
/// topics. The lines are for people, so the server
/// serves although they cannot be printed. The key is not logged: if the lines go to the journal, they have no key.
pub(crate) fn announce(
    access: &Access,
    made: Option<&mut MadeKey>,
    endpoints: &[Endpoint],
    has_echo: bool,
    servers: &[String],
) {
    let mut text = String::new();
    for endpoint in endpoints {
        let (http, ws) = (endpoint.http(), endpoint.ws());
        // Writing to a string never fails.
        let _ = match endpoint.tcp() {
            Some(address) if endpoint.is_admin => {
                writeln!(text, "standpipe listening on {http}://{address}/ (admin)")
            }
            Some(address) if endpoint.has_proxy_header => {
                writeln!(
                    text,
                    "standpipe listening on {http}://{address}/ (PROXY protocol)"
                )
            }
            Some(address) => {
                let echo = if has_echo {
                    format!("  {ws}://{address}/echo          sends every message back\n")
                } else {
                    String::new()
                };
                writeln!(
                    text,
                    "standpipe listening on {http}://{address}/\n{echo}  {ws}://{address}/ws/TOPIC      publishes to everyone \
                     connected to TOPIC"
                )
            }
            None if endpoint.is_admin => {
                writeln!(text, "standpipe listening on {endpoint} (admin)")
            }
            None if endpoint.has_proxy_header => {
                writeln!(text, "standpipe listening on {endpoint} (PROXY protocol)")
            }
            None => writeln!(text, "standpipe listening on {endpoint}"),
        };
    }
    for server in servers {
        let _ = writeln!(text, "topics are shared through {server}");
    }
    // A dashboard can be opened only by TCP, and neither a browser nor curl sends a PROXY header.
    let admin = endpoints.iter().filter(|endpoint| {
        endpoint.is_admin || !access.has_admin_listener && !endpoint.has_proxy_header
    });
    let admin = admin.min_by_key(|endpoint| endpoint.tcp().is_none());
    if let Some((admin, address)) = admin.and_then(|admin| Some((admin, admin.tcp()?))) {
        let shown = made.as_ref().filter(|_| !is_journal(io::stdout()));
        let fragment = shown.map_or(String::new(), |made| format!("#key={}", made.key()));
        let _ = writeln!(
            text,
            "dashboard: {}://{address}/dashboard{fragment}",
            admin.http()
        );
    }
    let header = header(&access.keys, made, endpoints);
    if let Some(command) = admin.zip(header).and_then(|(at, header)| curl(at, &header)) {
        let _ = writeln!(text, "publish:   {command}");
    }
    if let Err(error) = stdout::write_now(&text) {
        let listening: Vec<String> = endpoints.iter().map(Endpoint::shown).collect();
        let listening = listening.join(", ");
        log::warn!("listening on {listening}; this could not be printed: {error}");
    }
}

/// Returns the part of a command that passes the key to curl. curl reads the header from its standard input, because every
/// user of the machine can see the arguments of a process. Returns `None` if the key is in no file.
fn header(keys: &Keys, made: Option<&mut MadeKey>, endpoints: &[Endpoint]) -> Option<String> {
    match keys {
        Keys::None => Some("curl".into()),
        Keys::File(file) => {
            let line = file.secrets().first_line();
            let path = quoted(file.path());
            // The first secret may follow comments, a byte order mark and spaces.
            Some(format!(
                "sed -n '{line}s/^[^!-~]*/Authorization: Bearer /p' {path} | curl -H @-"
            ))
        }
        Keys::Made(_) => {
            let made = made?;
            let mut stored = None;
            for endpoint in endpoints {
                match made.store(&endpoint.key_name()) {
                    Ok(path) => stored = stored.or(Some(path)),
                    Err(error) => {
                        log::warn!(
                            "the key is in no file, so `standpipe pub` and `top` do not find it; see --publish-key-file: {error}"
                        );
                        break;
                    }
                }
            }
            let path = quoted(&stored?);
            Some(format!(
                "sed 's/^/Authorization: Bearer /' {path} | curl -H @-"
            ))
        }
    }
}

/// Returns a command that publishes a message. `curl` is its beginning.
fn curl(endpoint: &Endpoint, curl: &str) -> Option<String> {
    let target = match (endpoint.tcp(), endpoint.unix()) {
        (Some(address), _) => format!("{}://{address}/publish/lobby", endpoint.http()),
        (None, Some(path)) => {
            format!(
                "--unix-socket {} http://localhost/publish/lobby",
                quoted(&path)
            )
        }
        (None, None) => return None,
    };
    Some(format!(
        "{curl} -H 'Content-Type: text/plain' -d hello {target}"
    ))
}

/// Returns a path as one word of a shell command.
fn quoted(path: &Path) -> String {
    format!(
        "'{}'",
        absolute(path).display().to_string().replace('\'', r"'\''")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_one_word_of_a_shell_command() {
        assert_eq!(quoted(Path::new("/a b/c'd")), r"'/a b/c'\''d'");
    }
}
