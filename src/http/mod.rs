//! The first bytes of every client: request head, routing, the upgrade or another answer.
