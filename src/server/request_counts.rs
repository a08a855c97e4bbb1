//! [`RequestCount`]: the HTTP requests of a server, by route and status.

use std::sync::Mutex;

use crate::sync::lock;

/// The most pairs of a route and a status that are counted separately.
const MOST: usize = 512;

/// The route under which the rest is counted.
const OTHERS: &str = "others";

/// How many requests of one route were answered with one status: a part of
/// [`ServerStatistics`](crate::ServerStatistics).
///
/// ```
/// # fn example(handle: &standpipe::ServerHandle) {
/// for requests in handle.statistics().requests {
///     let route = requests.route.unwrap_or("none");
///     println!("{route}: {} requests answered with {}", requests.count, requests.status);
/// }
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestCount {
    /// The route that the handler has named with [`Request::set_route`](crate::Request::set_route). `None`: the handler
    /// named none, or the request was refused before the handler saw it.
    pub route: Option<&'static str>,
    /// The status of the answer. 101 is an upgrade.
    pub status: u16,
    /// How many there were.
    pub count: u64,
}

/// The counters behind [`RequestCount`]. Changed once for each request.
#[derive(Debug, Default)]
pub(crate) struct RequestCounters(Mutex<Vec<RequestCount>>);

impl RequestCounters {
    pub(crate) fn count(&self, route: Option<&'static str>, status: u16) {
        let mut rows = lock(&self.0);
        let known = |rows: &[RequestCount], route| {
            let is_known = |row: &RequestCount| (row.route, row.status) == (route, status);
            rows.iter().position(is_known)
        };
        let (at, route) = match known(&rows, route) {
            // A handler may name any number of routes, if it makes their names at run time.
            None if rows.len() >= MOST => (known(&rows, Some(OTHERS)), Some(OTHERS)),
            at => (at, route),
        };
        match at {
            Some(at) => rows[at].count += 1,
            None => rows.push(RequestCount {
                route,
                status,
                count: 1,
            }),
        }
    }

    /// Returns all counts, sorted by route and status.
    pub(super) fn counts(&self) -> Vec<RequestCount> {
        let mut rows = lock(&self.0).clone();
        rows.sort_by_key(|row| (row.route, row.status));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_without_end_are_counted_together() {
        let counters = RequestCounters::default();
        for n in 0..2 * MOST {
            let route: &'static str = Box::leak(format!("route {n}").into_boxed_str());
            counters.count(Some(route), 200);
        }
        counters.count(Some("route 3"), 200);
        let counts = counters.counts();
        assert_eq!(counts.len(), MOST + 1);
        let of = |route| counts.iter().find(|row| row.route == Some(route));
        assert_eq!(of(OTHERS).map(|row| row.count), Some(MOST as u64));
        assert_eq!(of("route 3").map(|row| row.count), Some(2));
    }
}
