//! [`Readiness`]: whether this hub should get clients, judged by its links.

use std::time::Duration;

use standpipe::redis::{LinkState, Lost};

/// The worst of all links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    /// The hub is without a server for this time, the longest of all links.
    Isolated(Duration),
    /// The hub has just started.
    Joining,
}

impl Readiness {
    /// Judges the links by their states, and by how long each has been isolated.
    pub(super) fn of(links: impl IntoIterator<Item = (LinkState, Option<Duration>)>) -> Readiness {
        let mut worst = Readiness::Ready;
        for (state, isolated_for) in links {
            worst = match (state, isolated_for, worst) {
                (LinkState::Joining, ..) | (.., Readiness::Joining) => Readiness::Joining,
                (_, Some(time), Readiness::Isolated(longest)) => {
                    Readiness::Isolated(time.max(longest))
                }
                (_, Some(time), Readiness::Ready) => Readiness::Isolated(time),
                (_, None, worst) => worst,
            };
        }
        worst
    }

    /// Returns the status and the text of the answer.
    pub(super) fn answer(self, lost: Lost) -> (u16, String) {
        match (self, lost) {
            (Readiness::Ready, _) => (200, "ready\n".into()),
            (Readiness::Joining, _) => (503, "connecting to redis\n".into()),
            // If all hubs answered 503, a load balancer would take the whole service away from its clients.
            (Readiness::Isolated(time), Lost::Local) => {
                (200, format!("ready, without redis for {}\n", seconds(time)))
            }
            (Readiness::Isolated(time), _) => {
                (503, format!("without redis for {}\n", seconds(time)))
            }
        }
    }
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_link_decides_whether_a_hub_is_ready() {
        let ms = Duration::from_millis;
        let up = (LinkState::Up, None);
        let suspect = (LinkState::Suspect, None);
        let rejoining = (LinkState::Rejoining, None);
        let joining = (LinkState::Joining, None);
        let isolated = (LinkState::Isolated, Some(ms(3150)));
        let rejoining_later = (LinkState::Rejoining, Some(ms(800)));
        for (links, local, refuse) in [
            (&[][..], "200 ready", "200 ready"),
            (&[up, suspect, rejoining], "200 ready", "200 ready"),
            (
                &[up, joining, isolated],
                "503 connecting to redis",
                "503 connecting to redis",
            ),
            (
                &[isolated, joining],
                "503 connecting to redis",
                "503 connecting to redis",
            ),
            (
                &[rejoining_later, isolated, up],
                "200 ready, without redis for 3.1 s",
                "503 without redis for 3.1 s",
            ),
            (
                &[rejoining_later],
                "200 ready, without redis for 0.8 s",
                "503 without redis for 0.8 s",
            ),
        ] {
            for (lost, expected) in [(Lost::Local, local), (Lost::Refuse, refuse)] {
                let (status, text) = Readiness::of(links.iter().copied()).answer(lost);
                assert_eq!(
                    format!("{status} {text}"),
                    format!("{expected}\n"),
                    "{links:?}"
                );
            }
        }
    }
}
