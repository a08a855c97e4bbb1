//! [`Attacker`]: a client that takes much and gives little, each kind in its own way.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::client::{Client, End, head};
use crate::frame::{Got, PONG, frame};
use crate::healthy::TOPIC;

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Subscribes, sends pongs so that no ping clock ends it, and never reads.
    NeverReads,
    /// The same, until it is cut: then it reads all there is.
    ReadsOn,
    /// Subscribes, and reads 1 KiB/s.
    Slow,
    /// Sends its request a byte a second.
    Head,
    /// Reads all, and answers no ping.
    Silent,
}

pub(super) struct Attacker {
    pub(super) kind: Kind,
    /// Dropped when it is gone, and what the kernel keeps for it too.
    client: Option<Client>,
    pub(super) port: u16,
    /// The log says that it was cut with 4008.
    pub(super) is_cut: bool,
    /// How long it lasted.
    pub(super) gone: Option<Duration>,
    end: Option<End>,
    code: Option<u16>,
    came: Instant,
    /// Seconds of its life in which it has done its deed, and bytes it has read.
    beats: u64,
    read: usize,
}

impl Attacker {
    pub(super) fn new(kind: Kind, to: SocketAddr) -> Result<Attacker, Failure> {
        let came = Instant::now();
        let client = match kind {
            Kind::Head => Client::open(to)?,
            Kind::Silent => Client::connect(to, "/echo")?,
            _ => Client::connect(to, TOPIC)?,
        };
        client.unblock()?;
        Ok(Attacker {
            kind,
            port: client.port,
            client: Some(client),
            is_cut: false,
            gone: None,
            end: None,
            code: None,
            came,
            beats: 0,
            read: 0,
        })
    }

    /// Does what is due, and looks whether it still has a connection.
    pub(super) fn act(&mut self) {
        let Some(mut client) = self.client.take() else {
            return;
        };
        self.end = self.deed(&mut client);
        if self.end.is_some() {
            self.gone = Some(self.came.elapsed());
        } else {
            self.client = Some(client);
        }
    }

    fn deed(&mut self, client: &mut Client) -> Option<End> {
        let age = self.came.elapsed();
        let reads_on = self.kind == Kind::ReadsOn && self.is_cut;
        let most = match self.kind {
            Kind::Silent => usize::MAX,
            Kind::Slow => {
                let due = (age.as_secs_f64() * 1024.0) as usize;
                due - std::mem::replace(&mut self.read, due)
            }
            _ if reads_on => usize::MAX,
            _ => 0,
        };
        let code = &mut self.code;
        let end = client.look(most, |got| {
            if let Got::Close(with) = got {
                *code = Some(with);
            }
        });
        if end.is_some() || reads_on {
            return end;
        }
        if age.as_secs() >= self.beats {
            self.beats += 1;
            if self.beat(client).is_err() {
                return Some(End::Reset);
            }
        }
        // What is still unread need not be read to know of a reset.
        client.was_reset().then_some(End::Reset)
    }

    /// What it does once a second.
    fn beat(&self, client: &mut Client) -> io::Result<usize> {
        match self.kind {
            Kind::Silent => Ok(0),
            Kind::Head => {
                let head = head(SocketAddr::from(([127, 0, 0, 1], 1)), "/echo");
                let at = self.beats as usize - 1;
                client.try_bytes(&head.as_bytes()[at..=at])
            }
            _ => client.try_bytes(&frame(PONG, b"still here")),
        }
    }

    /// Whether its end was the one it has earned.
    pub(super) fn ended_right(&self) -> bool {
        match self.kind {
            Kind::NeverReads | Kind::Slow => self.is_cut && self.end == Some(End::Reset),
            Kind::ReadsOn => self.is_cut && self.code == Some(4008),
            Kind::Head => self.end == Some(End::Reset),
            // Who reads sees the end of the stream before the reset.
            Kind::Silent => self.end.is_some() && self.code.is_none(),
        }
    }
}
