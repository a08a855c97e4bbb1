//! [`Publisher`]: publishes at a steady rate, several messages together, and writes down every answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Ended, JsonClient, Nodes, Random};
use crate::log::{Node, Outcome, Published};
use crate::wait::DEADLINE;

pub(crate) struct Publisher {
    pub(crate) number: usize,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) node: Node,
    pub(crate) topics: &'static [&'static str],
    pub(crate) messages: usize,
    /// How long the publishing takes, unless answers take longer.
    pub(crate) traffic: Duration,
    pub(crate) random: Random,
}

/// The maximum number of messages of a batch.
const BATCH: usize = 16;

impl Publisher {
    /// Publishes everything. Returns one entry for each message.
    ///
    /// # Panics
    /// An answer does not come before the deadline.
    pub(crate) fn run(mut self) -> Vec<Published> {
        let mut published = Vec::with_capacity(self.messages);
        let began = Instant::now();
        while published.len() < self.messages && !self.nodes.has_failed() {
            self.node = self.nodes.living(self.node);
            let Ok(mut client) = JsonClient::connect(&self.nodes, self.node) else {
                // So that an unreachable node is not asked without a pause.
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            // An error means that the connection has ended, which the outcomes say.
            let _ = self.publish(&mut client, began, &mut published);
        }
        published
    }

    /// Publishes on one connection.
    fn publish(
        &mut self,
        client: &mut JsonClient,
        began: Instant,
        published: &mut Vec<Published>,
    ) -> Result<(), Ended> {
        let mut batch = published.last().map_or(0, |message| message.batch + 1);
        while published.len() < self.messages && !self.nodes.has_failed() {
            let done = published.len() as f64 / self.messages as f64;
            client.idle_until(began + self.traffic.mul_f64(done))?;
            let first = published.len();
            let count = (1 + self.random.below(BATCH)).min(self.messages - first);
            let topic = self.topics[self.random.below(self.topics.len())];
            // Most batches are for one topic.
            let is_mixed = self.random.below(4) == 0;
            let sent = Instant::now();
            for number in first..first + count {
                let other = self.topics[self.random.below(self.topics.len())];
                published.push(Published {
                    payload: format!("{}-{number}", self.number),
                    topic: if is_mixed { other } else { topic }.to_owned(),
                    node: self.node,
                    batch,
                    sent,
                    // Until the answer comes.
                    outcome: Outcome::Lost,
                });
            }
            batch += 1;
            let answered = exchange(client, &mut published[first..]);
            self.nodes.published.fetch_add(count, Ordering::SeqCst);
            answered?;
        }
        Ok(())
    }
}

/// Sends the commands of a batch together, and waits for all answers.
fn exchange(client: &mut JsonClient, batch: &mut [Published]) -> Result<(), Ended> {
    for Published { topic, payload, .. } in &*batch {
        client.send(json!({"pub": topic, "data": payload, "ref": payload}).to_string())?;
    }
    let mut waiting: HashMap<String, usize> = batch
        .iter()
        .enumerate()
        .map(|(n, message)| (message.payload.clone(), n))
        .collect();
    let deadline = Instant::now() + DEADLINE;
    while !waiting.is_empty() {
        let rest = deadline.saturating_duration_since(Instant::now());
        let answer = client.receive(rest)?;
        let answer =
            answer.unwrap_or_else(|| panic!("waited {DEADLINE:?} for the answers to {waiting:?}"));
        let reference = answer.ack.as_ref().or(answer.reference.as_ref());
        let number = reference.and_then(|reference| waiting.remove(reference));
        let number =
            number.unwrap_or_else(|| panic!("an answer to nothing, or a second one: {answer:?}"));
        batch[number].outcome = match (&answer.error, answer.id) {
            (None, Some(id)) => Outcome::Acked(id),
            (Some(error), _) if error.contains("outcome is not known") => Outcome::Unknown,
            (Some(_), _) => Outcome::Refused,
            (None, None) => panic!("an ack without an id: {answer:?}"),
        };
    }
    Ok(())
}
