//! Tests of the threads of one process, with pipes that the test holds still.

use std::io::{Read, Write, pipe};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use rustix::io::{ioctl_fionbio, ioctl_fionread};
use standpipe::{Hub, HubConfig, Message, Topic, TopicSettings};

use super::end::End;
use super::process_group::ProcessGroup;
use super::{feeder, output};

const DEADLINE: Duration = Duration::from_secs(30);

/// The number of bytes that a pipe holds (pipe(7)).
const PIPE: u64 = 64 << 10;

/// Waits for the result of a thread.
fn result<T: Send + 'static>(what: &str, thread: thread::JoinHandle<T>) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(thread.join()));
    let joined = receiver.recv_timeout(DEADLINE);
    joined.expect(what).expect("the thread does not panic")
}

/// A topic that keeps its messages.
fn topic() -> Topic {
    let settings = TopicSettings::default().history(1000);
    let hub = Hub::new(HubConfig::default().default_settings(settings));
    hub.topic("test").expect("the first topic")
}

fn lines(topic: &Topic) -> Vec<String> {
    let history = topic.history(0);
    let text = |message: &Message| String::from_utf8_lossy(message.as_bytes()).into_owned();
    history.iter().map(|each| text(&each.message())).collect()
}

#[test]
fn message_that_was_not_begun_is_kept_for_the_next_process() {
    let (mut reader, mut writer) = pipe().expect("a pipe");
    // The pipe is half full, so it takes only some messages of the first piece.
    let before = PIPE as usize / 2;
    writer
        .write_all(&vec![b'-'; before])
        .expect("the pipe has room");
    ioctl_fionbio(&writer, true).expect("a pipe can be made not to wait");
    let (sender, batches) = bounded(1);
    let (on_drop, end) = End::new().expect("an event");
    // With LF, each message has 10,000 bytes.
    let text = |n: usize| format!("{n:02}{}", "x".repeat(9_997));
    let batch: Vec<Message> = (0..20).map(|n| Message::text(text(n))).collect();
    sender.send(batch.clone()).expect("the queue is empty");
    let held = writer.try_clone().expect("a descriptor");
    let feeder = thread::spawn(move || feeder::run(&held, &batches, &end, Vec::new()));
    let deadline = Instant::now() + DEADLINE;
    while ioctl_fionread(&reader).expect("the pipe tells its bytes") < PIPE {
        assert!(Instant::now() < deadline, "waited for a full pipe");
        thread::yield_now();
    }
    // Here the feeder waits for room. The process is about to be ended.
    drop(on_drop);
    let left = result("the feeder ends", feeder);
    drop(writer);
    let mut written = Vec::new();
    reader.read_to_end(&mut written).expect("the pipe is read");
    let begun = (written.len() - before).div_ceil(10_000);
    assert_eq!((written.len() as u64, begun), (PIPE, 4));
    // Messages are in the pipe, or kept. The one that was cut off is neither.
    assert_eq!(left, batch[begun..]);
}

#[test]
fn message_waits_when_the_input_is_closed() {
    let (reader, writer) = pipe().expect("a pipe");
    let (sender, batches) = bounded(1);
    let (on_drop, end) = End::new().expect("an event");
    drop(reader);
    let first = vec![Message::text("a")];
    let kept = first.clone();
    let feeder = thread::spawn(move || feeder::run(&writer, &batches, &end, first));
    sender
        .send(vec![Message::text("b")])
        .expect("the queue is empty");
    // The queue is full, because the feeder has not taken this batch: the clients wait.
    assert!(sender.try_send(Vec::new()).is_err());
    drop(on_drop);
    assert_eq!(result("the feeder ends", feeder), kept);
}

#[test]
fn output_that_is_held_open_ends_on_request() {
    let (reader, mut writer) = pipe().expect("a pipe");
    let (on_drop, end) = End::new().expect("an event");
    let topic = topic();
    let published = topic.clone();
    let before = topic.last_id();
    let output = thread::spawn(move || output::run(&reader, &topic, 100, &end));
    writer
        .write_all(b"one\ntwo\nthr")
        .expect("the pipe has room");
    let deadline = Instant::now() + DEADLINE;
    while published.last_id() < before + 2 {
        assert!(Instant::now() < deadline, "waited for two lines");
        thread::yield_now();
    }
    drop(on_drop);
    result("the output ends although the pipe is open", output);
    assert_eq!(lines(&published), ["one", "two", "thr"]);
    drop(writer);
}

#[test]
fn bytes_before_the_end_are_published() {
    let (reader, mut writer) = pipe().expect("a pipe");
    let (on_drop, end) = End::new().expect("an event");
    writer.write_all(b"a\nb\n").expect("the pipe has room");
    drop(on_drop);
    let topic = topic();
    // Both the bytes and the end are there already.
    output::run(&reader, &topic, 100, &end);
    assert_eq!(lines(&topic), ["a", "b"]);
}

#[test]
fn reaped_group_gets_no_signal() {
    let group = ProcessGroup::default();
    let mut child = group
        .start(|| Command::new("true").spawn())
        .expect("`true` runs");
    assert!(group.has_leader());
    group.reap(&mut child).expect("`true` ends");
    assert!(
        !group.has_leader(),
        "its number may belong to another process now"
    );
}
