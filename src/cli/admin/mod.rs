//! The admin requests that publish to several topics or once, that look at topics, and that disconnect clients.
//! `src/openapi.json` describes all HTTP requests.

pub(crate) mod answer_table;
pub(crate) mod broadcast;
pub(crate) mod disconnect;
pub(crate) mod once;
pub(crate) mod topic_data;

/// Returns what is wrong with a body, as one line. The error may quote names that the client wrote.
fn one_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.replace(char::is_control, " ")
}
