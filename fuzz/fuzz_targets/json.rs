#![no_main]
//! The target `json`: parsing the commands of JSON mode. The parser belongs to the binary, so its files are included here.

#[path = "../../src/cli/command.rs"]
#[allow(dead_code, reason = "the target parses commands and does not run them")]
mod command;
#[path = "../../src/cli/names.rs"]
mod names;
#[path = "../../src/cli/nesting.rs"]
mod nesting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| command::keeps_its_laws(data));
