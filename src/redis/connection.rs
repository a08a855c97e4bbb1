//! [`ServerConnection`]: one connection to a Redis server, whose every wait has a deadline.
//!
//! The crate's own pipelines wait for each reply with the whole timeout, even after the first has expired. So commands are
//! sent in one call here, and their replies are received with one deadline. After an error the connection must be dropped,
//! because the crate would take a late reply for the reply to another command.

use std::fmt;
use std::time::{Duration, Instant};

#[cfg(feature = "tls")]
use ::redis::RedisConnectionInfo;
use ::redis::{Client, Cmd, Connection, RedisError, Value};

use super::candidate::Candidate;
#[cfg(feature = "tls")]
use super::tls::TlsConnection;

/// Commands that are sent together.
#[derive(Default)]
pub(super) struct Commands {
    bytes: Vec<u8>,
    count: usize,
}

impl Commands {
    pub(super) fn add(&mut self, command: &Cmd) {
        command.write_packed_command(&mut self.bytes);
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

/// Why a connection cannot be used any more, or what the server answered instead of a result.
#[derive(Debug)]
pub(super) enum ServerError {
    /// The connection is broken, or the server did not answer in time.
    Broken(String),
    /// The server's error reply. The code is its first word, such as `NOSCRIPT`.
    Refused { code: String, text: String },
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::Broken(text) => f.write_str(text),
            ServerError::Refused { code, text } => write!(f, "{code} {text}"),
        }
    }
}

impl From<RedisError> for ServerError {
    fn from(error: RedisError) -> Self {
        if let Some(code) = error.code() {
            return ServerError::Refused {
                code: code.into(),
                text: error.detail().unwrap_or_default().into(),
            };
        }
        if error.is_timeout() {
            return ServerError::Broken("no answer in time".into());
        }
        ServerError::Broken(error.to_string())
    }
}

impl ServerError {
    /// Whether the server can execute no command that writes, so that another server has to be looked for.
    pub(super) fn is_no_master(&self) -> bool {
        match self {
            ServerError::Broken(_) => false,
            ServerError::Refused { code, .. } => {
                let codes = ["READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN"];
                codes.contains(&code.as_str())
            }
        }
    }
}

impl ServerError {
    /// Whether the server has refused one command, and others may succeed on the same connection.
    pub(super) fn is_about_command(&self) -> bool {
        match self {
            ServerError::Broken(_) => false,
            ServerError::Refused { code, .. } => code != "NOSCRIPT" && !self.is_no_master(),
        }
    }
}

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mastership {
    pub(super) is_master: bool,
    /// Identifies one mastership of one server: 8 hexadecimal digits. It changes when the server restarts, and when a
    /// replica becomes a master.
    pub(super) epoch: String,
}

impl Mastership {
    /// Reads the answer to `INFO`.
    fn parse(info: &str) -> Option<Mastership> {
        let field = |name: &str| {
            let mut lines = info.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        };
        let identity = format!("{} {}", field("run_id")?, field("master_replid")?);
        let hash = fnv1a(identity.as_bytes());
        Some(Mastership {
            is_master: field("role")? == "master",
            epoch: format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff)),
        })
    }
}

/// Returns the 64-bit FNV-1a hash. It is the same in every process and version, unlike the hashes of the standard library.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A connection to a Redis server.
pub(super) struct ServerConnection {
    socket: Socket,
}

enum Socket {
    /// The connection of the crate `redis`.
    Plain(Connection),
    #[cfg(feature = "tls")]
    Tls(Box<TlsConnection>),
}

impl ServerConnection {
    /// Connects and authenticates.
    ///
    /// # Blocking
    /// Up to about twice the timeout, because the crate uses it for each step. The resolution of a host name has the time
    /// limits of the system.
    pub(super) fn open(
        candidate: &Candidate,
        timeout: Duration,
    ) -> Result<ServerConnection, ServerError> {
        let info = &candidate.info;
        #[cfg(feature = "tls")]
        if let Some(config) = &candidate.tls {
            let socket = TlsConnection::open(info, config, timeout).map_err(RedisError::from)?;
            let mut connection = ServerConnection {
                socket: Socket::Tls(Box::new(socket)),
            };
            connection.log_in(info.redis_settings(), Instant::now() + timeout)?;
            return Ok(connection);
        }
        let client = Client::open(info.clone())?;
        let connection = client.get_connection_with_timeout(timeout)?;
        connection.set_write_timeout(Some(timeout))?;
        Ok(ServerConnection {
            socket: Socket::Plain(connection),
        })
    }

    /// Authenticates and selects the database, as the crate does for a plain connection.
    #[cfg(feature = "tls")]
    fn log_in(
        &mut self,
        settings: &RedisConnectionInfo,
        deadline: Instant,
    ) -> Result<(), ServerError> {
        let mut commands = Commands::default();
        if let Some(password) = settings.password() {
            let mut auth = ::redis::cmd("AUTH");
            auth.arg(settings.username()).arg(password);
            commands.add(&auth);
        }
        if settings.db() != 0 {
            commands.add(::redis::cmd("SELECT").arg(settings.db()));
        }
        for reply in self.call(&commands, deadline)? {
            reply?;
        }
        Ok(())
    }

    /// Sends commands without waiting for their replies.
    pub(super) fn send(&mut self, commands: &Commands) -> Result<(), ServerError> {
        if commands.count == 0 {
            return Ok(());
        }
        match &mut self.socket {
            Socket::Plain(connection) => Ok(connection.send_packed_command(&commands.bytes)?),
            #[cfg(feature = "tls")]
            Socket::Tls(connection) => {
                Ok(connection.send(&commands.bytes).map_err(RedisError::from)?)
            }
        }
    }

    /// Receives the next reply, or on a connection with subscriptions the next message. An error reply is an error too.
    pub(super) fn receive(&mut self, deadline: Instant) -> Result<Value, ServerError> {
        match &mut self.socket {
            Socket::Plain(connection) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // A timeout of zero would mean no timeout. A reply that has arrived already is received in any case.
                let left = left.max(Duration::from_millis(1));
                connection.set_read_timeout(Some(left))?;
            }
            #[cfg(feature = "tls")]
            Socket::Tls(connection) => connection.set_deadline(deadline),
        }
        self.receive_next()
    }

    /// Receives the next reply with the time limit that the socket has already.
    pub(super) fn receive_next(&mut self) -> Result<Value, ServerError> {
        let value = match &mut self.socket {
            Socket::Plain(connection) => connection.recv_response()?,
            #[cfg(feature = "tls")]
            Socket::Tls(connection) => connection.receive()?,
        };
        Ok(value.extract_error()?)
    }

    /// Limits each call of [`receive_next`](Self::receive_next).
    pub(super) fn set_timeout(&mut self, timeout: Duration) -> Result<(), ServerError> {
        match &mut self.socket {
            Socket::Plain(connection) => Ok(connection.set_read_timeout(Some(timeout))?),
            #[cfg(feature = "tls")]
            Socket::Tls(connection) => {
                Ok(connection.set_timeout(timeout).map_err(RedisError::from)?)
            }
        }
    }

    /// Sends commands and receives all their replies, with one deadline. An error reply is an element of the result.
    pub(super) fn call(
        &mut self,
        commands: &Commands,
        deadline: Instant,
    ) -> Result<Vec<Result<Value, ServerError>>, ServerError> {
        self.send(commands)?;
        let mut replies = Vec::with_capacity(commands.len());
        for _ in 0..commands.len() {
            match self.receive(deadline) {
                Err(error @ ServerError::Broken(_)) => return Err(error),
                reply => replies.push(reply),
            }
        }
        Ok(replies)
    }

    /// Sends one command and receives its reply.
    pub(super) fn call_one(
        &mut self,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, ServerError> {
        let mut commands = Commands::default();
        commands.add(command);
        self.send(&commands)?;
        self.receive(deadline)
    }

    /// Asks the server for its role and its identity.
    pub(super) fn mastership(&mut self, deadline: Instant) -> Result<Mastership, ServerError> {
        let info = self.call_one(&::redis::cmd("INFO"), deadline)?;
        mastership(&info).ok_or_else(|| ServerError::Broken("INFO has no role".into()))
    }

    /// Loads a script, and returns the hash by which it is called.
    pub(super) fn load(&mut self, script: &str, deadline: Instant) -> Result<String, ServerError> {
        let mut command = ::redis::cmd("SCRIPT");
        command.arg("LOAD").arg(script);
        match self.call_one(&command, deadline)? {
            Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Value::SimpleString(text) => Ok(text),
            _ => Err(ServerError::Broken("SCRIPT LOAD returned no hash".into())),
        }
    }
}

/// Reads the answer to `INFO`.
pub(super) fn mastership(info: &Value) -> Option<Mastership> {
    match info {
        Value::BulkString(bytes) => Mastership::parse(&String::from_utf8_lossy(bytes)),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Mastership::parse(text),
        _ => None,
    }
}

/// Returns the server's time, from the answer to `TIME`, in microseconds since 1970.
pub(super) fn time(value: &Value) -> Option<u64> {
    let Value::Array(parts) = value else {
        return None;
    };
    let [seconds, micros] = &parts[..] else {
        return None;
    };
    number(seconds)?
        .checked_mul(1_000_000)?
        .checked_add(number(micros)?)
}

/// Returns a number that the server sent as an integer or as text.
pub(super) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

/// Returns the bytes of a string reply.
pub(super) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// Returns the elements of an array reply.
pub(super) fn elements(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(elements) | Value::Set(elements) => Some(elements),
        _ => None,
    }
}

impl fmt::Debug for ServerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConnection").finish_non_exhaustive()
    }
}

/// A reply that has not the form that the command promises.
pub(super) fn unexpected(command: &str) -> ServerError {
    ServerError::Broken(format!("the answer to {command} has an unexpected form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(run_id: &str, replid: &str, role: &str) -> Mastership {
        let info =
            format!("# Server\r\nrun_id:{run_id}\r\nrole:{role}\r\nmaster_replid:{replid}\r\n");
        Mastership::parse(&info).expect("all fields are there")
    }

    #[test]
    fn epoch_changes_with_restart_and_promotion() {
        let first = info("a", "x", "master");
        assert!(first.is_master && first.epoch.len() == 8);
        assert_eq!(first, info("a", "x", "master"));
        assert_ne!(first.epoch, info("b", "x", "master").epoch, "a restart");
        assert_ne!(first.epoch, info("a", "y", "master").epoch, "a promotion");
        assert!(!info("a", "x", "slave").is_master);
        assert_eq!(Mastership::parse("role:master\r\n"), None);
    }

    #[test]
    fn fnv1a_has_the_published_values() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
