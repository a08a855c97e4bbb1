//! The query of a [`Request`].

use std::fmt;
use std::str::FromStr;

use super::{Reply, Request};

impl Request {
    /// Returns the first value of `name` in the query, decoded. For `?a` the value of `a` is the empty string. A value may
    /// contain any character.
    ///
    /// ```
    /// # fn example(request: &standpipe::Request) {
    /// // For /ws?since=17
    /// let since: u64 = request.query("since").and_then(|id| id.parse().ok()).unwrap_or(0);
    /// # let _ = since;
    /// # }
    /// ```
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query_all(name).next()
    }

    /// Returns all values of `name` in the query, decoded, in their order.
    ///
    /// ```
    /// # use standpipe::Request;
    /// /// `?topic=a&topic=b` gives `["a", "b"]`.
    /// fn topics(request: &Request) -> Vec<&str> {
    ///     request.query_all("topic").collect()
    /// }
    /// ```
    pub fn query_all(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.query_pairs();
        pairs.filter_map(move |(key, value)| (key == name).then_some(value))
    }

    /// Returns all names and values of the query, decoded, in their order.
    ///
    /// ```
    /// # use standpipe::{Reply, Request};
    /// fn check(request: &Request) -> Result<(), Reply> {
    ///     match request.query_pairs().find(|(name, _)| !["since", "limit"].contains(name)) {
    ///         Some((name, _)) => Err(Reply::bad_request(format!("unknown parameter {name:?}"))),
    ///         None => Ok(()),
    ///     }
    /// }
    /// ```
    pub fn query_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.target.query.iter();
        pairs.map(|(name, value)| (&**name, &**value))
    }

    /// Returns the first value of `name` in the query as a `T`, or `None` if the query has no `name`.
    ///
    /// ```
    /// # use standpipe::{Reply, Request};
    /// fn page(request: &Request) -> Result<Reply, Reply> {
    ///     let since: u64 = request.query_as("since")?.unwrap_or(0);
    ///     Ok(Reply::text(200, format!("from {since}\n")))
    /// }
    /// ```
    ///
    /// # Errors
    /// A 400 that names the parameter and contains the error of `T`, if the value is not a `T`.
    pub fn query_as<T>(&self, name: &str) -> Result<Option<T>, Reply>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let parsed = self.query(name).map(str::parse).transpose();
        parsed.map_err(|error| Reply::bad_request(format!("the parameter {name}: {error}")))
    }
}
