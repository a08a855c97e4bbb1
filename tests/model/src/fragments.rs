//! `queue/fragments.rs`, for one stream: an end of the connection is left out.

use std::collections::VecDeque;

use loom::sync::Mutex;

use crate::lock;
use crate::write_path::WritePath;

/// The entry of the queue that stands for the stream.
pub(crate) const STREAM: u8 = b'[';

/// The last fragment of the stream.
pub(crate) const LAST: u8 = b'>';

#[derive(Debug, Default)]
pub(crate) struct Fragments(Mutex<VecDeque<u8>>);

impl Fragments {
    pub(crate) fn push(&self, fragment: u8, path: &WritePath) {
        lock(&self.0).push_back(fragment);
        path.notify_stream();
    }

    pub(crate) fn take_fragment(&self) -> Option<u8> {
        lock(&self.0).pop_front()
    }

    pub(crate) fn has_work(&self) -> bool {
        !lock(&self.0).is_empty()
    }
}
