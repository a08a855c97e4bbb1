//! Bytes that nobody thought of, for everything that reads a stranger's bytes.
//!
//! Each function is the whole of one target of `fuzz/`, which hands it what libFuzzer makes up, and panics when a law is
//! broken. The same functions run as ordinary tests, over the seeds in `fuzz/seeds` and over mutations of them.

mod frames;
mod head;
mod life;
#[cfg(test)]
mod properties;

pub use frames::{frames, header_check_differential};
pub use head::head;
pub use life::connection;

/// What a target decides by: the input's bytes, one after the other, and 0 when there are none left.
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

    /// Mutations of each seed.
    const MUTATIONS: u64 = 300;

    /// Runs a target over its seeds, and over mutations of them that are the same in every run.
    fn over_seeds(name: &str, target: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        let mut ran = 0;
        for seed in fs::read_dir(seeds.join(name)).expect("every target has seeds") {
            let seed = seed.expect("the directory can be read").path();
            let bytes = fs::read(&seed).expect("a seed can be read");
            target(&bytes);
            for n in 0..MUTATIONS {
                target(&mutated(&bytes, n));
            }
            ran += 1;
        }
        assert!(ran > 0, "there are seeds of {name}");
    }

    /// The seed with up to eight bytes changed, doubled or left out.
    fn mutated(seed: &[u8], n: u64) -> Vec<u8> {
        let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut dice = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % (below.max(1) as u64)).expect("below a usize")
        };
        let mut bytes = seed.to_vec();
        for _ in 0..=dice(8) {
            let at = dice(bytes.len());
            match dice(4) {
                _ if bytes.is_empty() => bytes.push(0),
                0 => bytes[at] ^= 1 << dice(8),
                1 => bytes[at] = dice(256) as u8,
                2 => {
                    let end = (at + dice(16)).min(bytes.len());
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
    fn a_request_head_is_the_same_however_it_is_cut() {
        over_seeds("head", super::head);
    }

    #[test]
    fn a_stream_of_frames_is_the_same_however_it_is_cut() {
        over_seeds("frames", super::frames);
    }

    #[test]
    fn a_valid_stream_passes_the_guard_unchanged() {
        over_seeds(
            "header_check_differential",
            super::header_check_differential,
        );
    }

    #[test]
    fn a_whole_connection_keeps_its_laws() {
        over_seeds("connection", super::connection);
    }
}
