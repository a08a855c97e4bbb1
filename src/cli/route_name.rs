//! The names of the routes, as `GET /metrics` shows them. They are fixed, because a client chooses the rest of a path.

/// Returns the route of a path, or `None` if there is nothing at this path.
pub(crate) fn route_name(path: &[&str]) -> Option<&'static str> {
    Some(match path {
        [] => "/",
        ["standpipe.js"] => "/standpipe.js",
        ["healthz"] => "/healthz",
        ["readyz"] => "/readyz",
        ["metrics"] => "/metrics",
        ["echo"] => "/echo",
        ["ws"] => "/ws",
        ["ws", _] => "/ws/TOPIC",
        ["publish"] => "/publish",
        ["publish", _] => "/publish/TOPIC",
        ["topics"] => "/topics",
        ["topics", _] => "/topics/TOPIC",
        ["topics", _, "history"] => "/topics/TOPIC/history",
        ["topics", _, "presence"] => "/topics/TOPIC/presence",
        ["clients", _, "disconnect"] => "/clients/N/disconnect",
        ["users", _, "disconnect"] => "/users/USER/disconnect",
        ["debug", "clients"] => "/debug/clients",
        ["dashboard"] => "/dashboard",
        ["dashboard", _] => "/dashboard/LIVE",
        _ => return None,
    })
}
