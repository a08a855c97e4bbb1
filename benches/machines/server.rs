//! [`RedisServer`]: a `redis-server` as a child process on a free loopback port, and its own figures.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::Failure;

/// Dropping the value kills the server.
pub(crate) struct RedisServer {
    child: Child,
    directory: std::path::PathBuf,
    pub(crate) port: u16,
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl RedisServer {
    pub(crate) fn start() -> Result<RedisServer, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let name = format!("standpipe-machines-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .args(["--client-output-buffer-limit", "pubsub 256mb 64mb 60"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server cannot be started: {error}"))?;
        let server = RedisServer {
            child,
            directory,
            port,
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("waited 10 s for redis-server to listen".into());
            }
            // There is no event for a listening socket of another process.
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connect(&self) -> Result<redis::Connection, Failure> {
        let client = redis::Client::open(self.url())?;
        Ok(client.get_connection_with_timeout(Duration::from_secs(5))?)
    }

    /// Returns the processor time that the server has used.
    pub(crate) fn processor(&self) -> Result<Duration, Failure> {
        let info: String = redis::cmd("INFO").arg("cpu").query(&mut self.connect()?)?;
        let value = |name: &str| -> Result<f64, Failure> {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            Ok(line.ok_or("a figure is missing in INFO cpu")?.parse()?)
        };
        let seconds = value("used_cpu_sys:")? + value("used_cpu_user:")?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// Returns the calls of each command, and the microseconds that they took.
    pub(crate) fn commands(&self) -> Result<BTreeMap<String, (u64, u64)>, Failure> {
        let info: String = redis::cmd("INFO")
            .arg("commandstats")
            .query(&mut self.connect()?)?;
        let mut commands = BTreeMap::new();
        for line in info.lines() {
            let Some((name, figures)) = line
                .strip_prefix("cmdstat_")
                .and_then(|line| line.split_once(':'))
            else {
                continue;
            };
            let figure = |name: &str| -> Option<u64> {
                let mut figures = figures
                    .split(',')
                    .filter_map(|figure| figure.split_once('='));
                figures.find(|(key, _)| *key == name)?.1.parse().ok()
            };
            let (calls, took) = figure("calls")
                .zip(figure("usec"))
                .ok_or("an unknown form of commandstats")?;
            commands.insert(name.to_owned(), (calls, took));
        }
        Ok(commands)
    }

    /// Removes all keys, so that one measurement does not slow the next.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        redis::cmd("FLUSHALL").exec(&mut self.connect()?)?;
        Ok(())
    }
}
