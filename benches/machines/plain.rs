//! Plain `PUBLISH`, to compare with: no ids, no history, no hub.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Connection, Pipeline, PubSub};

use crate::Failure;
use crate::load::{Load, Measured, SIZE, topic_name};
use crate::processor;
use crate::server::{self, RedisServer};

/// The commands of one pipeline.
const PIPELINE: usize = 128;

/// How long a message may take to arrive.
const ARRIVES: Duration = Duration::from_secs(10);

/// How the two connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One thread sends a pipeline, receives its messages, and sends the next.
    One,
    /// One thread sends, another one receives. The upper limit of what the crate can do on two connections.
    Two,
}

pub(crate) fn run(
    server: &RedisServer,
    threads: Threads,
    load: &Load,
) -> Result<Measured, Failure> {
    let channels: Vec<String> = (0..load.topics).map(topic_name).collect();
    let (mut sending, mut receiving) = (server.connection()?, server.connection()?);
    let mut subscription = receiving.as_pubsub();
    subscription.subscribe(&channels)?;
    subscription.set_read_timeout(Some(ARRIVES))?;
    let (redis, program) = (server::processor(server)?, processor::of_program()?);
    let (messages, took) = match threads {
        Threads::One => in_turns(&mut sending, &mut subscription, &channels, load.duration)?,
        Threads::Two => at_once(&mut sending, &mut subscription, &channels, load.duration)?,
    };
    let measured = Measured {
        messages,
        took,
        dropped: 0,
        redis: server::processor(server)? - redis,
        program: processor::of_program()? - program,
    };
    // Dropping a subscription waits for a reply.
    subscription.set_read_timeout(Some(Duration::from_millis(1)))?;
    Ok(measured)
}

fn in_turns(
    sending: &mut Connection,
    subscription: &mut PubSub<'_>,
    channels: &[String],
    duration: Duration,
) -> Result<(u64, Duration), Failure> {
    let (mut sent, began) = (0, Instant::now());
    while began.elapsed() < duration {
        pipeline(channels, sent).exec(sending)?;
        for _ in 0..PIPELINE {
            subscription.get_message()?;
        }
        sent += PIPELINE;
    }
    Ok((sent as u64, began.elapsed()))
}

fn at_once(
    sending: &mut Connection,
    subscription: &mut PubSub<'_>,
    channels: &[String],
    duration: Duration,
) -> Result<(u64, Duration), Failure> {
    // The number of messages, once it is known.
    let expected = AtomicU64::new(0);
    let began = Instant::now();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| -> Result<Duration, Failure> {
            let mut received = 0;
            loop {
                subscription.get_message()?;
                received += 1;
                if received == expected.load(Ordering::Acquire) {
                    return Ok(began.elapsed());
                }
            }
        });
        let mut sent = 0;
        loop {
            let is_last = began.elapsed() >= duration;
            let pipeline = pipeline(channels, sent);
            sent += PIPELINE;
            // The receiver must know the number before the last messages arrive.
            if is_last {
                expected.store(sent as u64, Ordering::Release);
            }
            pipeline.exec(sending)?;
            if is_last {
                break;
            }
        }
        let took = receiver.join().map_err(|_| "the receiver panicked")??;
        Ok((sent as u64, took))
    })
}

/// Returns the commands for the messages from `first` on, one for each message, to all channels in turn.
fn pipeline(channels: &[String], first: usize) -> Pipeline {
    let payload = [b'x'; SIZE];
    let mut pipeline = redis::pipe();
    for n in first..first + PIPELINE {
        let channel = &channels[n % channels.len()];
        pipeline.cmd("PUBLISH").arg(channel).arg(&payload).ignore();
    }
    pipeline
}
