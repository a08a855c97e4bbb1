//! [`Attacker`]: a hostile or broken client, which costs the server more than itself.

use std::io;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::{Client, End, head};
use crate::frame::{Got, PONG, frame};
use crate::healthy::TOPIC;
use crate::target::Target;

/// The kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Subscribes, sends pongs so that `ping_timeout` does not apply, and never reads.
    NeverReads,
    /// The same until it is disconnected, and then reads everything.
    ReadsOn,
    /// Subscribes, and reads 1 KiB/s.
    Slow,
    /// Sends its request at one byte per second.
    SlowRequest,
    /// Reads everything and answers no ping.
    Silent,
}

pub(super) struct Attacker {
    pub(super) kind: Kind,
    /// `None` after the end, so that the kernel frees its buffers.
    client: Option<Client>,
    pub(super) port: u16,
    /// The log says that it was disconnected with 4008.
    pub(super) is_disconnected: bool,
    /// How long the connection lasted.
    pub(super) gone: Option<Duration>,
    end: Option<End>,
    code: Option<u16>,
    started: Instant,
    /// How often it has acted, once per second, and how many bytes it has read.
    actions: u64,
    read: usize,
}

impl Attacker {
    pub(super) fn new(kind: Kind, to: Target) -> Result<Attacker, Failure> {
        let started = Instant::now();
        let client = match kind {
            Kind::SlowRequest => Client::open(to)?,
            Kind::Silent => Client::connect(to, "/echo")?,
            _ => Client::connect(to, TOPIC)?,
        };
        client.unblock()?;
        Ok(Attacker {
            kind,
            port: client.port,
            client: Some(client),
            is_disconnected: false,
            gone: None,
            end: None,
            code: None,
            started,
            actions: 0,
            read: 0,
        })
    }

    /// Does what is due, and checks whether the connection still exists.
    pub(super) fn act(&mut self) {
        let Some(mut client) = self.client.take() else {
            return;
        };
        self.end = self.step(&mut client);
        if self.end.is_some() {
            self.gone = Some(self.started.elapsed());
        } else {
            self.client = Some(client);
        }
    }

    fn step(&mut self, client: &mut Client) -> Option<End> {
        let age = self.started.elapsed();
        let reads_on = self.kind == Kind::ReadsOn && self.is_disconnected;
        let limit = match self.kind {
            Kind::Silent => usize::MAX,
            Kind::Slow => {
                let due = (age.as_secs_f64() * 1024.0) as usize;
                due - std::mem::replace(&mut self.read, due)
            }
            _ if reads_on => usize::MAX,
            _ => 0,
        };
        let code = &mut self.code;
        let end = client.read_available(limit, |got| {
            if let Got::Close(with) = got {
                *code = Some(with);
            }
        });
        if end.is_some() || reads_on {
            return end;
        }
        if age.as_secs() >= self.actions {
            self.actions += 1;
            if self.act_each_second(client).is_err() {
                return Some(End::Reset);
            }
        }
        // A reset can be seen without reading what arrived before it.
        client.was_reset().then_some(End::Reset)
    }

    /// Performs the action of this kind of attack, once per second.
    fn act_each_second(&self, client: &mut Client) -> io::Result<usize> {
        match self.kind {
            Kind::Silent => Ok(0),
            Kind::SlowRequest => {
                let head = head(Target::NONE, "/echo");
                let at = self.actions as usize - 1;
                client.try_bytes(&head.as_bytes()[at..=at])
            }
            _ => client.try_bytes(&frame(PONG, b"still here")),
        }
    }

    /// Returns whether the connection ended as this kind of attack must end.
    pub(super) fn ended_as_expected(&self) -> bool {
        match self.kind {
            Kind::NeverReads | Kind::Slow => self.is_disconnected && self.end == Some(End::Reset),
            Kind::ReadsOn => self.is_disconnected && self.code == Some(4008),
            Kind::SlowRequest => self.end == Some(End::Reset),
            // A client that reads sees the end of the stream before the reset.
            Kind::Silent => self.end.is_some() && self.code.is_none(),
        }
    }
}
