//! [`History`]: the last posts of a topic, by count and age, under one budget of bytes for the whole hub.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::message::TopicMessage;
use super::policy::TopicSettings;
use crate::clock;
use crate::sync::lock;

/// Bytes that all histories of a hub keep together.
#[derive(Debug)]
pub(super) struct Bytes {
    limit: usize,
    used: AtomicUsize,
}

impl Bytes {
    pub(super) fn new(limit: usize) -> Bytes {
        let used = AtomicUsize::new(0);
        Bytes { limit, used }
    }

    fn take(&self, size: usize) -> bool {
        let more = |used: usize| used.checked_add(size).filter(|used| *used <= self.limit);
        let order = Ordering::Relaxed;
        self.used.fetch_update(order, order, more).is_ok()
    }

    fn release(&self, size: usize) {
        self.used.fetch_sub(size, Ordering::Relaxed);
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct History {
    budget: Arc<Bytes>,
    /// With the bytes each one was counted with.
    posts: Mutex<VecDeque<(Arc<TopicMessage>, usize)>>,
}

impl History {
    pub(super) fn new(budget: Arc<Bytes>) -> History {
        let posts = Mutex::default();
        History { budget, posts }
    }

    /// Keeps `post`, in the place of the oldest where the settings or the budget leave no room. A post that the budget
    /// has no room for at all is not kept, and those before it are forgotten too: a history has no holes.
    pub(super) fn keep(&self, post: &Arc<TopicMessage>, settings: &TopicSettings) {
        if settings.history == 0 {
            return self.forget_all();
        }
        let size = post.size();
        let mut posts = lock(&self.posts);
        while posts.len() >= settings.history {
            self.forget_first(&mut posts);
        }
        while !self.budget.take(size) {
            if !self.forget_first(&mut posts) {
                return;
            }
        }
        posts.push_back((Arc::clone(post), size));
    }

    /// Forgets what is too old. Says whether anything is left.
    pub(super) fn expire(&self, settings: &TopicSettings) -> bool {
        let mut posts = lock(&self.posts);
        if let Some(age) = settings.max_age {
            let now = clock::now();
            let old = |post: &TopicMessage| now.saturating_sub(post.at()) >= clock::millis(age);
            while posts.front().is_some_and(|(post, _)| old(post)) {
                self.forget_first(&mut posts);
            }
        }
        !posts.is_empty()
    }

    /// The posts after `id`, at most `most` of them.
    pub(super) fn after(&self, id: u64, most: usize) -> Vec<Arc<TopicMessage>> {
        let posts = lock(&self.posts);
        let from = posts.partition_point(|(post, _)| post.id() <= id);
        posts
            .iter()
            .skip(from)
            .take(most)
            .map(|(post, _)| Arc::clone(post))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.posts).len()
    }

    fn forget_first(&self, posts: &mut VecDeque<(Arc<TopicMessage>, usize)>) -> bool {
        let first = posts.pop_front();
        if let Some((_, size)) = &first {
            self.budget.release(*size);
        }
        first.is_some()
    }

    fn forget_all(&self) {
        let mut posts = lock(&self.posts);
        while self.forget_first(&mut posts) {}
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.forget_all();
    }
}
