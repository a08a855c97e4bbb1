//! [`LinkWord`]: the state of a link and the number of its connection, in one atomic word.
//!
//! They change together. With two words, a thread could see the state of one connection and the number of another, and
//! messages were lost that way.

use std::sync::atomic::{AtomicU64, Ordering};

use super::status::LinkState;

const STATES: [LinkState; 5] = [
    LinkState::Joining,
    LinkState::Up,
    LinkState::Suspect,
    LinkState::Isolated,
    LinkState::Rejoining,
];

#[derive(Debug)]
pub(super) struct LinkWord(AtomicU64);

impl LinkWord {
    pub(super) fn new() -> LinkWord {
        LinkWord(AtomicU64::new(pack(LinkState::Joining, 0)))
    }

    /// Returns the state, and the number of the newest connection.
    pub(super) fn get(&self) -> (LinkState, u64) {
        unpack(self.0.load(Ordering::SeqCst))
    }

    pub(super) fn state(&self) -> LinkState {
        self.get().0
    }

    /// Changes the state, if it is still `from`, on the same connection. Returns whether it was.
    pub(super) fn change(&self, from: (LinkState, u64), to: (LinkState, u64)) -> bool {
        let (from, to) = (pack(from.0, from.1), pack(to.0, to.1));
        let order = Ordering::SeqCst;
        self.0.compare_exchange(from, to, order, order).is_ok()
    }
}

fn pack(state: LinkState, connection: u64) -> u64 {
    let index = STATES.iter().position(|listed| *listed == state);
    connection << 3 | index.map_or(0, |index| index as u64)
}

fn unpack(word: u64) -> (LinkState, u64) {
    let index = usize::try_from(word & 7).unwrap_or(0);
    (STATES[index.min(STATES.len() - 1)], word >> 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_fails_for_an_old_state_or_connection() {
        let word = LinkWord::new();
        let joining = (LinkState::Joining, 0);
        assert_eq!(word.get(), joining);
        assert!(word.change(joining, (LinkState::Rejoining, 0)));
        assert!(
            !word.change(joining, (LinkState::Isolated, 0)),
            "it has changed"
        );
        assert!(word.change((LinkState::Rejoining, 0), (LinkState::Up, 1)));
        assert!(
            !word.change((LinkState::Up, 0), (LinkState::Suspect, 0)),
            "an older connection"
        );
        assert_eq!(word.get(), (LinkState::Up, 1));
    }
}
