//! Claims: what one hub does at a time, and what the others find about it.

use std::io;
use std::time::Duration;

use ::redis::{Value, cmd};

use super::Redis;
use super::config::invalid;
use super::connection::bytes;
use crate::names;

impl Redis {
    /// Stores `value` under `key` if there is none, for `lifetime`. Returns the value that is there already.
    ///
    /// So of all hubs that claim a key, one gets `None`, and does something that must be done once. Then it stores the
    /// result with [`set_claim`](Self::set_claim), or gives the key back with [`release_claim`](Self::release_claim).
    ///
    /// # Blocking
    /// Waits for the server, up to the timeout.
    ///
    /// # Errors
    /// The server does not answer or refuses it, so the key may be claimed. The kind is
    /// [`NotConnected`](io::ErrorKind::NotConnected) if the hub is isolated, and
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if `key` does not have 1 to 200 bytes.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use standpipe::redis::Redis;
    /// /// Pays once, whichever machine gets the order, and however often it is sent.
    /// fn pay(redis: &Redis, order: &str) -> std::io::Result<String> {
    ///     const DAY: Duration = Duration::from_secs(24 * 3600);
    ///     if let Some(found) = redis.claim(order, b"in progress", DAY)? {
    ///         return Ok(String::from_utf8_lossy(&found).into_owned());
    ///     }
    ///     // Here the payment is made.
    ///     redis.set_claim(order, b"paid", DAY)?;
    ///     Ok("paid".into())
    /// }
    /// ```
    pub fn claim(
        &self,
        key: &str,
        value: &[u8],
        lifetime: Duration,
    ) -> io::Result<Option<Vec<u8>>> {
        names::check("a key", key).map_err(invalid)?;
        let link = self.shared.shard(key).link();
        let name = link.keys.claim(key);
        let mut set = cmd("SET");
        set.arg(&name).arg(value).arg("NX");
        set.arg("PX").arg(millis(lifetime));
        if !matches!(link.command(set)?, Value::Nil) {
            return Ok(None);
        }
        let mut get = cmd("GET");
        get.arg(&name);
        // The value may have expired meanwhile. Another hub that claims the key now gets it.
        Ok(Some(bytes(&link.command(get)?).unwrap_or_default().into()))
    }

    /// Replaces the value of a key that this hub has claimed, for `lifetime` from now on.
    ///
    /// # Blocking
    /// Waits for the server, up to the timeout.
    ///
    /// # Errors
    /// As [`claim`](Self::claim). The value may be replaced.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use standpipe::redis::Redis;
    /// # fn example(redis: &Redis) -> std::io::Result<()> {
    /// redis.set_claim("order-7", b"paid", Duration::from_secs(3600))
    /// # }
    /// ```
    pub fn set_claim(&self, key: &str, value: &[u8], lifetime: Duration) -> io::Result<()> {
        names::check("a key", key).map_err(invalid)?;
        let link = self.shared.shard(key).link();
        let mut set = cmd("SET");
        set.arg(link.keys.claim(key)).arg(value);
        set.arg("PX").arg(millis(lifetime));
        link.command(set)?;
        Ok(())
    }

    /// Gives back a key that this hub has claimed, so that it can be claimed again.
    ///
    /// # Blocking
    /// Waits for the server, up to the timeout.
    ///
    /// # Errors
    /// As [`claim`](Self::claim). The key may be given back.
    ///
    /// ```no_run
    /// # use standpipe::redis::Redis;
    /// # fn example(redis: &Redis) -> std::io::Result<()> {
    /// redis.release_claim("order-7")
    /// # }
    /// ```
    pub fn release_claim(&self, key: &str) -> io::Result<()> {
        names::check("a key", key).map_err(invalid)?;
        let link = self.shared.shard(key).link();
        let mut delete = cmd("DEL");
        delete.arg(link.keys.claim(key));
        link.command(delete)?;
        Ok(())
    }
}

/// Returns a lifetime as the server takes it, at least 1 ms.
fn millis(lifetime: Duration) -> u64 {
    crate::clock::millis(lifetime).max(1)
}
