//! [`Market`]: random prices.
//!
//! Each round makes one price for every symbol, in a different random order. With a fixed order, a policy that drops
//! messages could drop those of the same symbols again and again.

/// Prices in cents, and the order of the current round.
#[derive(Debug)]
pub(crate) struct Market {
    prices: Vec<u64>,
    order: Vec<usize>,
    next: usize,
    random_state: u64,
}

impl Market {
    pub(crate) fn new(symbols: usize, seed: u64) -> Market {
        let mut market = Market {
            prices: Vec::new(),
            order: (0..symbols).collect(),
            next: symbols,
            random_state: seed | 1,
        };
        for _ in 0..symbols {
            let price = 1_000 + market.random(50_000);
            market.prices.push(price);
        }
        market
    }

    /// Makes the next price, and returns its symbol and the price.
    pub(crate) fn step(&mut self) -> (usize, u64) {
        if self.next == self.order.len() {
            self.next = 0;
            for at in (1..self.order.len()).rev() {
                let other = self.random(at as u64 + 1) as usize;
                self.order.swap(at, other);
            }
        }
        let symbol = self.order[self.next];
        self.next += 1;
        let (up, down) = (self.random(10), self.random(10));
        let price = &mut self.prices[symbol];
        *price = (*price + up).saturating_sub(down).max(100);
        (symbol, *price)
    }

    pub(crate) fn price(&self, symbol: usize) -> u64 {
        self.prices[symbol]
    }

    /// Returns whether the current round is complete: every symbol has had a price.
    pub(crate) fn is_round_complete(&self) -> bool {
        self.next == self.order.len()
    }

    /// Returns a random number from 0 up to `below`. Xorshift is predictable, which does no harm here.
    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.random_state ^= self.random_state << 13;
        self.random_state ^= self.random_state >> 7;
        self.random_state ^= self.random_state << 17;
        (self.random_state >> 20) % below
    }
}
