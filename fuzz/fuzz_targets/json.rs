#![no_main]
//! The parser of JSON mode is part of the binary, so its files are included here.

#[path = "../../src/cli/command.rs"]
#[allow(dead_code, reason = "the target parses commands and does not run them")]
mod command;
#[path = "../../src/cli/ids.rs"]
mod ids;
#[path = "../../src/names.rs"]
mod names;
#[path = "../../src/nesting.rs"]
mod nesting;
#[path = "../../src/cli/parser.rs"]
#[allow(dead_code, reason = "the target parses text and no messages")]
mod parser;

libfuzzer_sys::fuzz_target!(|data: &[u8]| parser::check_invariants(data));
