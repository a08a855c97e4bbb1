//! Fuzz targets for all code that reads bytes from a client, or from the server through which hubs share topics.
//!
//! Each public function is one target: a crate in `fuzz/` calls it with the inputs of libFuzzer. The function panics if
//! an invariant does not hold. The same functions also run as ordinary tests, over the seeds in `fuzz/seeds` and over
//! mutations of them.

mod connection;
mod frames;
mod head;
#[cfg(test)]
mod properties;
mod proxies;
mod requests;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "redis")]
mod wire_record;

pub use connection::connection;
pub use frames::{frames, header_check_differential};
pub use head::head;
pub use proxies::{forwarded, proxy_header};
pub use requests::requests;
#[cfg(feature = "tls")]
pub use tls::tls;
#[cfg(feature = "redis")]
pub use wire_record::wire_record;

/// The input of a target, which decides its steps. The methods return its bytes in order, and 0 after the last one.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(self.0.len().min(most));
        self.0 = later;
        now
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The number of mutations of each seed.
    const MUTATIONS: u64 = 300;

    /// Runs a target over its seeds and over mutations of them. The mutations are the same in every run.
    fn over_seeds(name: &str, target: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        let mut ran = 0;
        for seed in fs::read_dir(seeds.join(name)).expect("every target has seeds") {
            let seed = seed.expect("the directory is readable").path();
            let bytes = fs::read(&seed).expect("the seed is readable");
            target(&bytes);
            for n in 0..MUTATIONS {
                target(&mutated(&bytes, n));
            }
            ran += 1;
        }
        assert!(ran > 0, "the target {name} has no seeds");
    }

    /// Returns the seed with up to nine mutations: a bit flipped, a byte replaced or removed, or a few bytes repeated.
    fn mutated(seed: &[u8], n: u64) -> Vec<u8> {
        let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % (below.max(1) as u64)).expect("the remainder fits into a usize")
        };
        let mut bytes = seed.to_vec();
        for _ in 0..=random(8) {
            let at = random(bytes.len());
            match random(4) {
                _ if bytes.is_empty() => bytes.push(0),
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes[at] = random(256) as u8,
                2 => {
                    let end = (at + random(16)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => {
                    bytes.remove(at);
                }
            }
        }
        bytes
    }

    #[test]
    fn result_of_a_head_is_independent_of_read_sizes() {
        over_seeds("head", super::head);
    }

    #[test]
    fn proxy_header_is_independent_of_read_sizes() {
        over_seeds("proxy_header", super::proxy_header);
    }

    #[test]
    fn forwarding_header_of_a_proxy_wins() {
        over_seeds("forwarded", super::forwarded);
    }

    #[test]
    fn requests_of_a_connection_are_independent_of_read_sizes() {
        over_seeds("requests", super::requests);
    }

    #[test]
    fn messages_are_independent_of_read_sizes() {
        over_seeds("frames", super::frames);
    }

    #[test]
    fn header_check_accepts_every_valid_stream() {
        over_seeds(
            "header_check_differential",
            super::header_check_differential,
        );
    }

    #[test]
    #[cfg(feature = "redis")]
    fn records_are_checked_before_they_are_taken() {
        over_seeds("wire_record", super::wire_record);
    }

    #[test]
    #[cfg(feature = "tls")]
    fn damaged_records_end_a_session() {
        over_seeds("tls", super::tls);
    }

    #[test]
    fn connection_invariants_hold() {
        over_seeds("connection", super::connection);
    }
}
