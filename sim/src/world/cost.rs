//! What work costs: processor time of the real programs, and the bytes that carry a frame over a wire.

use samara_protocol::geometry::{GROUP_BYTES, Geometry, PieceRange};
use serde::{Deserialize, Serialize};

/// Processor time of one core.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    /// Nanoseconds for each artifact byte sent: read, encode, encrypt, write to the socket.
    pub send_ns_per_byte: f64,
    /// Nanoseconds for each artifact byte received: read from the socket, decrypt, verify, write to the store.
    pub receive_ns_per_byte: f64,
    /// Nanoseconds for a connection's handshakes, at either end.
    pub connect_ns: u64,
    /// Nanoseconds to verify and keep a document.
    pub document_ns: u64,
    /// Nanoseconds for each artifact byte that the seeder hashes before it joins.
    pub hash_ns_per_byte: f64,
    /// Nanoseconds from a process's start until it listens, beside hashing.
    pub start_ns: u64,
    /// Nanoseconds from the last piece until the artifact is durable.
    pub seal_ns: u64,
}

impl Costs {
    /// Work that costs nothing.
    pub const NONE: Self = Self {
        send_ns_per_byte: 0.0,
        receive_ns_per_byte: 0.0,
        connect_ns: 0,
        document_ns: 0,
        hash_ns_per_byte: 0.0,
        start_ns: 0,
        seal_ns: 0,
    };
}

impl Default for Costs {
    fn default() -> Self {
        Self {
            send_ns_per_byte: 6.0,
            receive_ns_per_byte: 9.0,
            connect_ns: 1_500_000,
            document_ns: 300_000,
            hash_ns_per_byte: 0.5,
            start_ns: 25_000_000,
            seal_ns: 10_000_000,
        }
    }
}

/// Ethernet, IPv4 and TCP with timestamps, for a full segment.
const SEGMENT_BYTES: u64 = 1448;
const SEGMENT_HEADER_BYTES: u64 = 66;
/// A parent of the bao tree: two hashes.
const PARENT_BYTES: u64 = 64;
/// Yamux writes frames of this much data, each with a header; Noise adds a length and a tag.
const CHUNK_BYTES: u64 = 16 * 1024;
const CHUNK_HEADER_BYTES: u64 = 12 + 2 + 16;
/// Length and header of a data frame.
const FRAME_HEADER_BYTES: u64 = 12;

/// Bytes on the wire of a control message of so many bytes that travels alone.
pub(super) fn message_wire_bytes(message_bytes: u64) -> u64 {
    message_bytes + CHUNK_HEADER_BYTES + SEGMENT_HEADER_BYTES
}

/// Bytes on the wire for one data frame, TCP acknowledgements (which go the other way) not counted.
pub(super) fn frame_wire_bytes(geometry: &Geometry, range: PieceRange) -> u64 {
    let (_, bytes) = geometry.byte_range(range);
    let all = geometry.length().div_ceil(GROUP_BYTES).max(1);
    let groups = u64::from(range.groups).max(1);
    // A run of groups is a subtree: its own parents, and those from its root up.
    let parents = groups - 1 + u64::from((all / groups).max(1).ilog2());
    let encoded = bytes + parents * PARENT_BYTES + FRAME_HEADER_BYTES;
    let framed = encoded + encoded.div_ceil(CHUNK_BYTES) * CHUNK_HEADER_BYTES;
    framed + framed.div_ceil(SEGMENT_BYTES) * SEGMENT_HEADER_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_costs_on_the_wire_what_the_lab_counts() {
        let geometry = Geometry::for_length(64 << 20).unwrap();
        let whole: u64 = (0..geometry.pieces())
            .flat_map(|piece| geometry.ranges(samara_protocol::geometry::PieceIndex(piece)))
            .map(|range| frame_wire_bytes(&geometry, range))
            .sum();
        let copies = whole as f64 / (64 << 20) as f64;
        // The kernel counts 1.055 to 1.057 for the data alone.
        assert!((1.050..1.058).contains(&copies), "{copies}");
    }
}
