//! The properties of the connection that an upgrade by a [`Reply`] sets: its subprotocol, its limits and its user.

use std::sync::Arc;

use super::Reply;
use crate::limits::Limits;

impl Reply {
    /// Selects the subprotocol `name` if the client offered exactly this name. Otherwise no subprotocol is selected, and
    /// the client decides whether to continue without one (RFC 6455 §4.1).
    ///
    /// ```
    /// use standpipe::{Reply, Request};
    ///
    /// fn answer(request: &Request) -> Reply {
    ///     match request.subprotocols().find(|name| *name == "chat.v1") {
    ///         Some(name) => Reply::upgrade().subprotocol(name),
    ///         None => Reply::text(400, "chat.v1 is required\n"),
    ///     }
    /// }
    /// ```
    pub fn subprotocol(mut self, name: impl Into<String>) -> Reply {
        self.rare().subprotocol = Some(name.into());
        self
    }

    /// Sets limits for this one connection, in place of those of the server. Any other reply than an upgrade ignores them.
    ///
    /// ```
    /// use standpipe::{Limits, Reply};
    /// let accepted = Reply::upgrade().limits(Limits::new().max_message(1 << 20).queue(16));
    /// ```
    pub fn limits(mut self, limits: Limits) -> Reply {
        self.rare().limits = Some(limits);
        self
    }

    /// Names the user of this connection. The name is shown in the log lines about the connection, and in
    /// [`ClientState::user`](crate::ClientState::user). It has no other effect. Any other reply than an upgrade ignores it.
    ///
    /// ```
    /// use standpipe::{Reply, Request};
    ///
    /// fn answer(request: &Request) -> Reply {
    ///     match request.cookie("session") {
    ///         Some("8c1f") => Reply::upgrade().user("ann"),
    ///         _ => Reply::redirect(303, "/login"),
    ///     }
    /// }
    /// ```
    pub fn user(mut self, name: impl Into<Arc<str>>) -> Reply {
        self.rare().user = Some(name.into());
        self
    }

    /// Takes out what [`user`](Self::user) has set.
    pub(crate) fn take_user(&mut self) -> Option<Arc<str>> {
        self.rare.as_mut()?.user.take()
    }

    /// Takes out what [`limits`](Self::limits) has set.
    pub(crate) fn take_limits(&mut self) -> Option<Limits> {
        self.rare.as_mut()?.limits.take()
    }
}
