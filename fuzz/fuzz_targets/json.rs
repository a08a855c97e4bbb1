#![no_main]
//! JSON mode is the binary's, so its reading of a command is included here as it stands.

#[path = "../../src/cli/command.rs"]
#[allow(dead_code, reason = "the target reads commands, and obeys none")]
mod command;
#[path = "../../src/cli/names.rs"]
mod names;
#[path = "../../src/cli/nesting.rs"]
mod nesting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| command::check_invariants(data));
