//! The announcements of a program to the other hubs: which users to disconnect.

use std::io;
use std::sync::Arc;

use ::redis::cmd;

use super::Redis;
use super::config::invalid;
use super::users::{Callback, MAX_REASON, UserDisconnect};
use crate::names;

impl Redis {
    /// Tells all other hubs to disconnect a user. They call what they have passed to
    /// [`on_disconnect_user`](Self::on_disconnect_user). This hub's own clients are not affected: call
    /// [`ServerHandle::disconnect_user`](crate::ServerHandle::disconnect_user) too.
    ///
    /// A hub that is isolated at the moment is not told.
    ///
    /// # Blocking
    /// Waits for the server, up to the timeout.
    ///
    /// # Errors
    /// The server does not answer or refuses it, so the other hubs may not be told. `user` does not have 1 to 200 bytes, or
    /// `reason` has more than 123.
    ///
    /// ```no_run
    /// # use standpipe::{ServerHandle, redis::Redis};
    /// /// Disconnects a user from all machines.
    /// fn ban(server: &ServerHandle, redis: &Redis, user: &str) -> std::io::Result<()> {
    ///     server.disconnect_user(user, 4100, "banned");
    ///     redis.disconnect_user(user, 4100, "banned")
    /// }
    /// ```
    pub fn disconnect_user(&self, user: &str, code: u16, reason: &str) -> io::Result<()> {
        names::check("a user", user).map_err(invalid)?;
        if reason.len() > MAX_REASON {
            return Err(invalid(format!("a reason has at most {MAX_REASON} bytes")));
        }
        let link = self.shared.shard(user).link();
        let message = UserDisconnect {
            node: link.node,
            user,
            code,
            reason,
        };
        let mut publish = cmd("PUBLISH");
        publish.arg(link.keys.users_channel()).arg(message.encode());
        link.command(publish)?;
        Ok(())
    }

    /// Calls `callback` with the user, the code and the reason when another hub disconnects a user. It replaces the
    /// callback before. It runs on the thread that receives from the server, so it must not block.
    /// [`ServerHandle::disconnect_user`](crate::ServerHandle::disconnect_user) does not.
    ///
    /// [`shutdown`](Self::shutdown) drops the callback.
    ///
    /// ```no_run
    /// # use standpipe::{ServerHandle, redis::Redis};
    /// # fn example(server: ServerHandle, redis: &Redis) {
    /// redis.on_disconnect_user(move |user, code, reason| {
    ///     server.disconnect_user(user, code, reason);
    /// });
    /// # }
    /// ```
    pub fn on_disconnect_user(&self, callback: impl Fn(&str, u16, &str) + Send + Sync + 'static) {
        let callback: Callback = Arc::new(callback);
        for shard in &self.shared.shards {
            shard.link().on_disconnect.set(Some(Arc::clone(&callback)));
        }
    }
}
