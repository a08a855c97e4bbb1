//! [`Tickets`]: what the client's queue holds for one topic.

#[derive(Debug, Default)]
pub(super) struct Tickets {
    /// Tickets of this topic in the client's queue. A ticket whose message was dropped stays, for the next message.
    queued: usize,
    /// The topic is on the client's overflow list.
    in_overflow: bool,
}

impl Tickets {
    /// Returns whether there is a ticket for each of `messages` messages.
    pub(super) fn cover(&self, messages: usize) -> bool {
        self.queued >= messages
    }

    pub(super) fn add(&mut self) {
        self.queued += 1;
    }

    pub(super) fn redeem(&mut self) {
        self.queued = self.queued.saturating_sub(1);
    }

    /// Marks the topic as on the overflow list. Returns false if it was there already.
    pub(super) fn enter_overflow(&mut self) -> bool {
        !std::mem::replace(&mut self.in_overflow, true)
    }

    /// Records whether the topic stays on the overflow list.
    pub(super) fn set_in_overflow(&mut self, stays: bool) {
        self.in_overflow = stays;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_counted() {
        let mut tickets = Tickets::default();
        assert!(tickets.cover(0) && !tickets.cover(1));
        tickets.add();
        assert!(tickets.cover(1) && !tickets.cover(2));
        tickets.redeem();
        tickets.redeem();
        tickets.add();
        assert!(tickets.cover(1) && !tickets.cover(2));
    }

    #[test]
    fn topic_enters_the_overflow_list_once() {
        let mut tickets = Tickets::default();
        assert!(tickets.enter_overflow());
        assert!(!tickets.enter_overflow());
        tickets.set_in_overflow(false);
        assert!(tickets.enter_overflow());
    }
}
