//! The admin requests that look at topics and clients, or change them. `src/openapi.json` describes all HTTP requests.

pub(crate) mod disconnect;
pub(crate) mod topic_data;
