//! The Redis server of a measurement, and its own figures.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Failure;
pub(crate) use crate::redis_server::RedisServer;

/// The setting that the guide recommends. The default would cut off a hub that is behind for a moment.
const BUFFER_LIMIT: [&str; 2] = ["--client-output-buffer-limit", "pubsub 256mb 64mb 60"];

pub(crate) fn start() -> Result<RedisServer, Failure> {
    Ok(RedisServer::with_args(&BUFFER_LIMIT).ok_or("redis-server is not installed")?)
}

/// Returns the processor time that the server has used.
pub(crate) fn processor(server: &RedisServer) -> Result<Duration, Failure> {
    let info = server.info("cpu");
    let value = |name: &str| -> Result<f64, Failure> {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.ok_or("a figure is missing in INFO cpu")?.parse()?)
    };
    let seconds = value("used_cpu_sys:")? + value("used_cpu_user:")?;
    Ok(Duration::from_secs_f64(seconds))
}

/// Returns the calls of each command, and the microseconds that they took.
pub(crate) fn commands(server: &RedisServer) -> Result<BTreeMap<String, (u64, u64)>, Failure> {
    let mut commands = BTreeMap::new();
    for line in server.info("commandstats").lines() {
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
