//! [`CloseCounters`]: how the connections of a server have ended.

use std::sync::Mutex;

use crate::connection::CloseCause;
use crate::sync::lock;

/// The most causes that are counted separately with their codes.
const MOST: usize = 256;

/// Counts causes. Changed once for each client.
#[derive(Debug, Default)]
pub(crate) struct CloseCounters(Mutex<Vec<(CloseCause, u64)>>);

impl CloseCounters {
    pub(crate) fn count(&self, cause: &CloseCause) {
        let mut rows = lock(&self.0);
        let cause = without_text(cause, rows.len() < MOST);
        match rows.iter_mut().find(|(known, _)| *known == cause) {
            Some((_, count)) => *count += 1,
            None => rows.push((cause, 1)),
        }
    }

    /// Returns all counts, sorted by the name of the cause and by the code.
    pub(super) fn counts(&self) -> Vec<(CloseCause, u64)> {
        let mut rows = lock(&self.0).clone();
        rows.sort_by_key(|(cause, _)| (cause.name(), cause.code()));
        rows
    }
}

/// Returns the cause without the reason. A code from 3000 on that a peer has chosen is replaced by the first code of its
/// range (RFC 6455 §7.4.2), because clients must not be able to fill this table. The codes of the application are kept
/// while there is room.
fn without_text(cause: &CloseCause, has_room: bool) -> CloseCause {
    let range = |code: u16| {
        if code < 3000 {
            code
        } else {
            code / 1000 * 1000
        }
    };
    let reason = String::new();
    match *cause {
        CloseCause::Peer { code, .. } => {
            let code = range(code);
            CloseCause::Peer { code, reason }
        }
        CloseCause::Application { code, .. } => {
            let code = if has_room { code } else { range(code) };
            CloseCause::Application { code, reason }
        }
        CloseCause::Violation { code, .. } => CloseCause::Violation { code, reason },
        ref other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_peers_are_counted_by_range() {
        let counters = CloseCounters::default();
        for code in 3000..=4999 {
            let reason = format!("reason {code}");
            counters.count(&CloseCause::Peer { code, reason });
        }
        for code in [1000, 4001] {
            let reason = "bye".into();
            counters.count(&CloseCause::Application { code, reason });
        }
        counters.count(&CloseCause::Gone);
        let reason = String::new;
        let of_peer = |code| CloseCause::Peer {
            code,
            reason: reason(),
        };
        let of_application = |code| CloseCause::Application {
            code,
            reason: reason(),
        };
        let expected = [
            (of_application(1000), 1),
            (of_application(4001), 1),
            (CloseCause::Gone, 1),
            (of_peer(3000), 1000),
            (of_peer(4000), 1000),
        ];
        assert_eq!(counters.counts(), expected);
    }

    #[test]
    fn codes_of_the_application_have_a_limit() {
        let counters = CloseCounters::default();
        for code in 4000..=4999 {
            let reason = String::new();
            counters.count(&CloseCause::Application { code, reason });
        }
        let counts = counters.counts();
        assert_eq!(counts.len(), MOST);
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 1000);
    }
}
