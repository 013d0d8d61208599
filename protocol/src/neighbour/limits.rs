//! Every bound of the mesh machine: unit in the name, reason beside it.

use crate::geometry::REQUEST_BYTES_MAX;
use std::time::Duration;

/// Bounds that a driver may change; the defaults are what the tests and the lab measure.
#[derive(Debug, Clone)]
pub struct Limits {
    /// What one request asks for at most. The wire carries [`REQUEST_BYTES_MAX`]; only simulations take more.
    pub request_bytes: u32,
    /// Requests in flight to all peers together, at least this many bytes: enough of them that no neighbour's link idles
    /// while others have a queue.
    pub inflight_bytes_min: u64,
    /// Requests in flight to one peer, at least this many bytes: two requests, so that its link never idles.
    pub budget_bytes_min: u64,
    /// And at most: a peer with a long queue can't hoard this peer's wants.
    pub budget_bytes_max: u64,
    /// Granted bytes without an acknowledging have, at least: two requests of 256 KiB keep a scarce link full.
    pub scarce_bytes_min: u64,
    /// Pieces without one that the number of devices which take any can ask for: more of them fill a link whose receivers
    /// are slow, but each is whole later, and lost with its grantee.
    pub scarce_spread_max: u64,
    /// And at most: bounds what a vanished grantee loses.
    pub scarce_bytes_max: u64,
    /// A request is repeated elsewhere after this, or after eight expected durations when that is longer.
    pub request_timeout_min: Duration,
    /// A request older than this, and than four usual ones, may be asked of a second peer that has nothing else to give.
    pub overdue_min: Duration,
    /// Haves that are not urgent are gathered for at most so long.
    pub have_batch: Duration,
    /// Those of a piece that many neighbours have.
    pub have_batch_common: Duration,
    /// Time without progress after which a grantee counts as vanished.
    pub grantee_silence_min: Duration,
    /// Time after which a grantee that passes nothing on sits on its pieces.
    pub spread_timeout_min: Duration,
    /// Pieces that a device takes from a granting peer beyond those under way.
    pub credit_pieces: u16,
    /// Requests that one peer may have queued here; more is a violation. Bounds memory.
    pub serve_queue_max: usize,
    /// Data frames handed to the network at once for one peer.
    pub serve_active_per_peer: usize,
    /// Interval of pings to a silent neighbour; four of them without any message end the connection.
    pub ping_interval: Duration,
    /// Control messages that one peer may send in a second on average (four times as many in a burst).
    pub messages_per_second: u32,
    /// Of these, messages that cost more than a table look-up (opens, offers, digests, addresses).
    pub costly_messages_per_second: u32,
    /// Memory for messages that are kept while membership is being checked: the opens of all swarms, with room for their
    /// bitfields. Strangers can make a device hold so much for each connection.
    pub held_back_bytes_max: usize,
    /// Swarms that one peer may take part in: several releases of many artifacts.
    pub channels_per_peer_max: usize,
    /// Pieces of all of them together; bounds its bitfields to 1 MiB.
    pub pieces_per_peer_max: u64,
    /// Bytes of one peer that are being stored at once, each held in memory: twice what is asked of one peer.
    pub storing_bytes_per_peer_max: u64,
    /// Documents known of or wanted at once.
    pub documents_max: usize,
    /// A site of at most so many peers is connected all to all.
    pub full_mesh_max: usize,
    /// On a larger one, neighbours that this peer chooses itself.
    pub chosen_max: usize,
    /// And neighbours in all, whoever chose: it goes on to choose while it has fewer.
    pub neighbours_min: usize,
    /// Interval at which one idle chosen neighbour makes room for another: keeps a large mesh random and whole.
    pub replace_interval: Duration,
    /// A neighbour without data for so long is idle.
    pub idle_min: Duration,
    /// Members whose addresses are remembered: far more than are ever chosen, so that the choice is random.
    pub addresses_max: usize,
    /// Interval of catalog digests.
    pub digest_interval: Duration,
    /// A wanted document is asked for elsewhere after this.
    pub want_timeout: Duration,
    /// Devices to which a granting peer gives a document itself.
    pub document_copies: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: REQUEST_BYTES_MAX,
            inflight_bytes_min: 4 << 20,
            budget_bytes_min: 256 << 10,
            budget_bytes_max: 8 << 20,
            scarce_bytes_min: 512 << 10,
            scarce_spread_max: 16,
            scarce_bytes_max: 32 << 20,
            request_timeout_min: Duration::from_secs(3),
            overdue_min: Duration::from_millis(300),
            have_batch: Duration::from_millis(125),
            have_batch_common: Duration::from_secs(1),
            grantee_silence_min: Duration::from_secs(3),
            spread_timeout_min: Duration::from_secs(2),
            credit_pieces: 64,
            serve_queue_max: 256,
            serve_active_per_peer: 2,
            ping_interval: Duration::from_secs(5),
            messages_per_second: 5000,
            costly_messages_per_second: 200,
            held_back_bytes_max: 256 << 10,
            channels_per_peer_max: 512,
            pieces_per_peer_max: 8 << 20,
            storing_bytes_per_peer_max: 16 << 20,
            documents_max: 16_384,
            full_mesh_max: 48,
            chosen_max: 16,
            neighbours_min: 24,
            replace_interval: Duration::from_secs(60),
            idle_min: Duration::from_secs(30),
            addresses_max: 256,
            digest_interval: Duration::from_secs(30),
            want_timeout: Duration::from_secs(1),
            document_copies: 2,
        }
    }
}
