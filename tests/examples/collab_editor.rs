#[path = "../../examples/collab_editor/client.rs"]
#[allow(dead_code, reason = "the tests do not use all of it")]
mod client;
#[path = "../../examples/collab_editor/document.rs"]
#[allow(dead_code, reason = "the tests do not use all of it")]
mod document;
#[path = "../../examples/collab_editor/text.rs"]
#[allow(dead_code, reason = "the tests do not use all of it")]
mod text;

mod converge;
mod merge;
mod program;
mod random;

use serde_json::Value;
use text::Op;

fn op(parts: &Value) -> Op {
    serde_json::from_value(parts.clone()).expect("the parts are a valid edit")
}
