//! [`Market`]: prices that nobody has asked for. Each round it makes one for every symbol, in another order each time: in a
//! fixed order a policy that drops could meet the same symbols again and again.

/// Prices in cents, and the order of this round.
#[derive(Debug)]
pub(crate) struct Market {
    prices: Vec<u64>,
    order: Vec<usize>,
    next: usize,
    luck: u64,
}

impl Market {
    pub(crate) fn new(symbols: usize, luck: u64) -> Market {
        let mut market = Market {
            prices: Vec::new(),
            order: (0..symbols).collect(),
            next: symbols,
            luck: luck | 1,
        };
        for _ in 0..symbols {
            let price = 1_000 + market.chance(50_000);
            market.prices.push(price);
        }
        market
    }

    /// The next symbol, and its new price.
    pub(crate) fn step(&mut self) -> (usize, u64) {
        if self.next == self.order.len() {
            self.next = 0;
            for at in (1..self.order.len()).rev() {
                let other = self.chance(at as u64 + 1) as usize;
                self.order.swap(at, other);
            }
        }
        let symbol = self.order[self.next];
        self.next += 1;
        let (up, down) = (self.chance(10), self.chance(10));
        let price = &mut self.prices[symbol];
        *price = (*price + up).saturating_sub(down).max(100);
        (symbol, *price)
    }

    pub(crate) fn price(&self, symbol: usize) -> u64 {
        self.prices[symbol]
    }

    /// The round has told one of each.
    pub(crate) fn is_round(&self) -> bool {
        self.next == self.order.len()
    }

    /// From 0 up to `below`, by xorshift: what comes next is no secret worth keeping.
    pub(crate) fn chance(&mut self, below: u64) -> u64 {
        self.luck ^= self.luck << 13;
        self.luck ^= self.luck >> 7;
        self.luck ^= self.luck << 17;
        (self.luck >> 20) % below
    }
}
