//! The addresses that we listen on: one that is lost is said and taken again, ever less often.

use super::{ListenAddress, NetError};
use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::time::Instant;

/// The first wait after a listener was lost.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Listener {
    address: Multiaddr,
    state: State,
    /// The wait after the next loss.
    wait: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Open; whether it has told an address yet.
    Open {
        id: ListenerId,
        is_told: bool,
    },
    Lost {
        retry: Instant,
    },
}

/// libp2p listens with `SO_REUSEPORT`: two processes would share a port and half of the connections each. One without
/// that option is told that the port is taken.
fn check_free(address: &Multiaddr) -> std::io::Result<()> {
    let parts: Vec<_> = address.iter().collect();
    let at: SocketAddr = match parts.as_slice() {
        [Protocol::Ip4(ip), Protocol::Tcp(port), ..] => (*ip, *port).into(),
        [Protocol::Ip6(ip), Protocol::Tcp(port), ..] => (*ip, *port).into(),
        _ => return Ok(()),
    };
    TcpListener::bind(at).map(drop)
}

/// All that an error and its causes say; libp2p's outer one says nothing.
fn reason(error: &dyn std::error::Error) -> String {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(inner) = cause {
        words.push(inner.to_string());
        cause = inner.source();
    }
    words.retain(|word| !word.is_empty());
    words.dedup();
    words.join(": ")
}

/// The listeners of one network.
#[derive(Debug)]
pub(super) struct Listeners(Vec<Listener>);

impl Listeners {
    /// Opens all; the first that fails ends it.
    pub(super) fn open<E: std::error::Error>(
        addresses: &[ListenAddress],
        mut listen: impl FnMut(Multiaddr) -> Result<ListenerId, E>,
    ) -> Result<Self, NetError> {
        let mut listeners = Vec::new();
        for given in addresses {
            let address = given.multiaddr().clone();
            let failed = |why| NetError::Listen { address: given.clone(), why };
            check_free(&address).map_err(|e| failed(e.to_string()))?;
            let id = listen(address.clone()).map_err(|e| failed(reason(&e)))?;
            let state = State::Open { id, is_told: false };
            listeners.push(Listener { address, state, wait: RETRY_MIN });
        }
        Ok(Self(listeners))
    }

    /// The open ones.
    #[cfg(test)]
    pub(super) fn ids(&self) -> impl Iterator<Item = ListenerId> {
        self.0.iter().filter_map(|listener| match listener.state {
            State::Open { id, .. } => Some(id),
            State::Lost { .. } => None,
        })
    }

    /// Whether each open listener has told where it listens.
    pub(super) fn are_told(&self) -> bool {
        !self.0.iter().any(|listener| matches!(listener.state, State::Open { is_told: false, .. }))
    }

    /// A listener told an address: it works.
    pub(super) fn on_told(&mut self, told: ListenerId) {
        for listener in &mut self.0 {
            if let State::Open { id, is_told } = &mut listener.state
                && *id == told
            {
                *is_told = true;
                listener.wait = RETRY_MIN;
            }
        }
    }

    /// A listener ended by itself.
    pub(super) fn on_lost(&mut self, lost: ListenerId, why: &str, now: Instant) {
        for listener in &mut self.0 {
            if matches!(listener.state, State::Open { id, .. } if id == lost) {
                let address = &listener.address;
                tracing::warn!(target: "samara", event = "listener_lost", %address, why, "no longer listening");
                listener.put_off(now);
            }
        }
    }

    /// Opens what was lost and is due.
    pub(super) fn reopen<E: std::fmt::Display>(
        &mut self,
        now: Instant,
        mut listen: impl FnMut(Multiaddr) -> Result<ListenerId, E>,
    ) {
        for listener in &mut self.0 {
            if !matches!(listener.state, State::Lost { retry } if retry <= now) {
                continue;
            }
            match listen(listener.address.clone()) {
                Ok(id) => listener.state = State::Open { id, is_told: false },
                Err(error) => {
                    tracing::debug!(address = %listener.address, %error, "still not listening");
                    listener.put_off(now);
                }
            }
        }
    }
}

impl Listener {
    fn put_off(&mut self, now: Instant) {
        self.state = State::Lost { retry: now + self.wait };
        self.wait = (self.wait * 2).min(RETRY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_listener_is_taken_again_ever_less_often_until_it_works() {
        let open = |_| Ok::<_, std::io::Error>(ListenerId::next());
        let mut listeners = Listeners::open(&["/ip4/127.0.0.1/tcp/0".parse().unwrap()], open).unwrap();
        let State::Open { id, .. } = listeners.0[0].state else { panic!() };
        let now = Instant::now();
        listeners.on_told(id);
        assert!(listeners.are_told());
        listeners.on_lost(ListenerId::next(), "another's", now);
        listeners.reopen(now, |_| Err::<ListenerId, _>("not lost"));
        assert!(matches!(listeners.0[0].state, State::Open { .. }));
        listeners.on_lost(id, "gone", now);
        let mut tries = Vec::new();
        for second in 0..300 {
            listeners.reopen(now + Duration::from_secs(second), |_| {
                tries.push(second);
                Err::<ListenerId, _>("in use")
            });
        }
        let waits: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits.is_sorted() && waits.last() == Some(&60), "{waits:?}");
        listeners.reopen(now + Duration::from_secs(1000), open);
        assert!(matches!(listeners.0[0].state, State::Open { is_told: false, .. }));
    }
}
