//! Ending connections, and what peers say when they end one.

use super::Driver;
use crate::mesh::alarms::Cause;
use crate::mesh::net::Refuse;
use samara_protocol::id::PeerId;
use samara_protocol::mesh::DisconnectReason;
use samara_protocol::trust::Membership;
use samara_protocol::wire::{Goodbye, Message};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How long a peer that broke the protocol is refused.
const VIOLATION_REFUSED: Duration = Duration::from_secs(600);
/// How long a peer that is no member, or speaks another version, is refused: shorter than its own first wait, since it
/// may come with an enrollment the next time, of which nobody here has heard.
const STRANGER_REFUSED: Duration = Duration::from_millis(500);
/// How long a peer is left alone that was sent away only because there were enough neighbours.
pub(super) const SURPLUS_REFUSED: Duration = Duration::from_secs(20);
/// How long a goodbye may take to be written before the connection ends.
const GOODBYE_MAX: Duration = Duration::from_millis(250);

impl Driver {
    pub(super) fn disconnect(&mut self, peer: PeerId, reason: &DisconnectReason) {
        tracing::debug!(%peer, %reason, "disconnect");
        let refuse = match reason {
            DisconnectReason::Violation(violation) => {
                tracing::warn!(target: "samara", event = "peer_violation", %peer, reason = %violation, "peer refused");
                Some(Refuse::For(VIOLATION_REFUSED))
            }
            DisconnectReason::OtherSite(site) => {
                self.alarms.raise(Cause::OtherSite, Some(peer), site.to_string(), Instant::now());
                self.part(peer);
                return;
            }
            DisconnectReason::Version => {
                self.alarms.raise(Cause::Version, Some(peer), String::new(), Instant::now());
                self.part(peer);
                return;
            }
            DisconnectReason::Surplus => Some(Refuse::For(SURPLUS_REFUSED)),
            DisconnectReason::Silent | DisconnectReason::Idle => None,
        };
        self.net.disconnect(peer, refuse);
    }

    /// A peer is no member: it is told why. The task that ends its connection.
    pub(super) fn refuse_stranger(&self, peer: PeerId, membership: Membership) -> Option<AbortHandle> {
        tracing::info!(%peer, ?membership, "not a member of this mesh");
        let goodbye = match membership {
            Membership::Revoked => Goodbye::Revoked,
            _ => Goodbye::NotEnrolled,
        };
        self.net.send_control(peer, Message::Goodbye(goodbye));
        self.part(peer)
    }

    /// A peer ends the connection and says why.
    pub(super) fn on_goodbye(&mut self, peer: PeerId, goodbye: Goodbye) {
        if let Some(cause) = Cause::of(goodbye) {
            self.alarms.raise(cause, Some(peer), String::new(), Instant::now());
        }
    }

    /// Somebody at `address` has our key. Our own addresses, which a site's devices may all be configured to dial, are
    /// no news.
    pub(super) fn on_own_identity(&mut self, address: String) {
        let host = |address: &str| address.split('/').take(3).collect::<Vec<_>>().join("/");
        let here = self.listen.iter().any(|own| host(own) == host(&address));
        if !here && !self.listen.is_empty() {
            self.alarms.raise(Cause::Cloned, None, address, Instant::now());
        }
    }

    /// Ends a connection after its last words are written; the peer is refused from now on.
    fn part(&self, peer: PeerId) -> Option<AbortHandle> {
        self.net.part(peer, Refuse::Stranger(STRANGER_REFUSED), GOODBYE_MAX)
    }
}
