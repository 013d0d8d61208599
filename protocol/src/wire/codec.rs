//! Messages and data headers as bytes. Every length is checked before anything is allocated for it.
//!
//! ```text
//! control frame   varint length | type u8 | postcard payload          length counts type and payload
//! data frame      varint length | postcard DataHeader | bao bytes     length counts header and bytes
//! ```
//! A payload may be longer than this version's struct (a later version appended fields): the rest is ignored.
//! A frame of an unknown type is handed on as [`Message::Unknown`], so that old and new peers share a swarm.

use super::{DataHeader, Goodbye, Message};
use crate::geometry::REQUEST_BYTES_MAX;
use serde::{Serialize, de::DeserializeOwned};

/// The largest control frame: a bitfield of 2¹⁹ pieces, or a document of 64 KiB, and their surroundings.
pub const CONTROL_FRAME_MAX: usize = 68 * 1024;
/// The largest frame of a message that is neither `Hello`, `Open`, `Document`, `Offer`, `Want` nor `Have`.
pub const SMALL_FRAME_MAX: usize = 8 * 1024;
/// The largest hello: an enrollment of 6 KiB and eight addresses.
pub const HELLO_FRAME_MAX: usize = 8 * 1024;
/// The largest list of offers, wants or haves.
pub const LIST_FRAME_MAX: usize = 36 * 1024;
/// The largest data frame: 256 KiB, its hash path (≤ 64 parents of 64 bytes beside one per group) and the header.
pub const DATA_FRAME_MAX: usize = REQUEST_BYTES_MAX as usize + 16 * 1024;

/// Why bytes are no frame; the stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than its type may be.
    #[error("a frame of {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// What it claims.
        bytes: usize,
        /// What its type may have.
        max: usize,
    },
    /// No varint, no type, or a payload that does not decode.
    #[error("a malformed frame")]
    Malformed,
}

/// Appends a control frame. [`Message::Unknown`] is never sent and appends nothing.
pub fn encode_control(message: &Message, out: &mut Vec<u8>) {
    let (kind, payload) = match message {
        Message::Hello(body) => (1, bytes_of(body)),
        Message::Ping(body) => (2, bytes_of(body)),
        Message::Pong(body) => (3, bytes_of(body)),
        Message::Addresses(body) => (4, bytes_of(body)),
        Message::Offer(body) => (5, bytes_of(body)),
        Message::Want(body) => (6, bytes_of(body)),
        Message::Document(body) => (7, body.clone()),
        Message::Digest(body) => (8, bytes_of(body)),
        Message::Open(body) => (9, bytes_of(body)),
        Message::Close(body) => (10, bytes_of(body)),
        Message::Have(body) => (11, bytes_of(body)),
        Message::Credit(body) => (12, bytes_of(body)),
        Message::Request(body) => (13, bytes_of(body)),
        Message::Cancel(body) => (14, bytes_of(body)),
        Message::Decline(body) => (15, bytes_of(body)),
        Message::Mode(body) => (16, bytes_of(body)),
        Message::Goodbye(body) => (17, bytes_of(&body.code())),
        Message::Probe(body) => (18, bytes_of(body)),
        Message::Probed(body) => (19, bytes_of(body)),
        Message::Unknown(_) => return,
    };
    put_varint(payload.len() as u64 + 1, out);
    out.push(kind);
    out.extend_from_slice(&payload);
}

/// Reads one control frame from the front of `buffer`: the message and the bytes it took, or `None` if more must
/// come first. A caller that keeps at most one incomplete frame holds at most [`CONTROL_FRAME_MAX`] + 10 bytes.
pub fn decode_control(buffer: &[u8]) -> Result<Option<(Message, usize)>, WireError> {
    let Some((length, start)) = take_varint(buffer)? else { return Ok(None) };
    if length == 0 {
        return Err(WireError::Malformed);
    }
    let Some(&kind) = buffer.get(start) else {
        return if length > CONTROL_FRAME_MAX {
            Err(WireError::TooLong { bytes: length, max: CONTROL_FRAME_MAX })
        } else {
            Ok(None)
        };
    };
    let max = frame_max(kind);
    if length > max {
        return Err(WireError::TooLong { bytes: length, max });
    }
    let end = start + length;
    if buffer.len() < end {
        return Ok(None);
    }
    Ok(Some((decode_payload(kind, &buffer[start + 1..end])?, end)))
}

/// The beginning of a data frame, before its bao bytes.
pub fn encode_data_header(header: &DataHeader, bao_bytes: usize) -> Vec<u8> {
    let header = bytes_of(header);
    let mut out = Vec::with_capacity(header.len() + 5);
    put_varint((header.len() + bao_bytes) as u64, &mut out);
    out.extend_from_slice(&header);
    out
}

/// Reads the length of a data frame: (bytes of the body, bytes of the length itself), or `None` for more.
pub fn decode_data_length(buffer: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
    let Some((length, start)) = take_varint(buffer)? else { return Ok(None) };
    if length > DATA_FRAME_MAX {
        return Err(WireError::TooLong { bytes: length, max: DATA_FRAME_MAX });
    }
    Ok(Some((length, start)))
}

/// Reads the header at the front of a whole data frame's body; the rest is the bao encoding.
pub fn decode_data_header(body: &[u8]) -> Result<(DataHeader, usize), WireError> {
    let (header, rest) = postcard::take_from_bytes(body).map_err(|_| WireError::Malformed)?;
    Ok((header, body.len() - rest.len()))
}

fn frame_max(kind: u8) -> usize {
    match kind {
        1 => HELLO_FRAME_MAX,
        5 | 6 | 11 => LIST_FRAME_MAX,
        7 | 9 => CONTROL_FRAME_MAX,
        _ => SMALL_FRAME_MAX,
    }
}

fn decode_payload(kind: u8, payload: &[u8]) -> Result<Message, WireError> {
    Ok(match kind {
        1 => Message::Hello(parse(payload)?),
        2 => Message::Ping(parse(payload)?),
        3 => Message::Pong(parse(payload)?),
        4 => Message::Addresses(parse(payload)?),
        5 => Message::Offer(parse(payload)?),
        6 => Message::Want(parse(payload)?),
        7 => Message::Document(payload.to_vec()),
        8 => Message::Digest(parse(payload)?),
        9 => Message::Open(parse(payload)?),
        10 => Message::Close(parse(payload)?),
        11 => Message::Have(parse(payload)?),
        12 => Message::Credit(parse(payload)?),
        13 => Message::Request(parse(payload)?),
        14 => Message::Cancel(parse(payload)?),
        15 => Message::Decline(parse(payload)?),
        16 => Message::Mode(parse(payload)?),
        17 => Message::Goodbye(Goodbye::of_code(parse(payload)?)),
        18 => Message::Probe(parse(payload)?),
        19 => Message::Probed(parse(payload)?),
        unknown => Message::Unknown(unknown),
    })
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, WireError> {
    postcard::take_from_bytes(payload).map(|(body, _later)| body).map_err(|_| WireError::Malformed)
}

fn bytes_of<T: Serialize>(body: &T) -> Vec<u8> {
    // Writing plain structs to memory cannot fail; an empty payload would be refused by the receiver.
    postcard::to_allocvec(body).unwrap_or_default()
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(buffer: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
    let mut value = 0_usize;
    for (i, &byte) in buffer.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((value, i + 1)));
        }
    }
    if buffer.len() >= 4 { Err(WireError::Malformed) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::{PieceIndex, PieceRange};
    use crate::id::{ContentHash, DocumentId, PeerId, SiteId};
    use crate::piece_set::WirePieceSet;
    use crate::wire::*;
    use proptest::prelude::*;

    fn hello() -> Hello {
        Hello {
            version: 1,
            version_min: 1,
            features: vec!["future".into()],
            site: SiteId([7; 16]),
            agent: "samara-node/0.1.0".into(),
            mode: ServeMode::Pull,
            enrollment: vec![1, 2, 3],
            listen: vec!["/ip4/127.0.0.1/tcp/4810".into()],
        }
    }

    fn one_of_each() -> Vec<Message> {
        let range = PieceRange { piece: PieceIndex(300), first_group: 0, groups: 8 };
        let request = Request { channel: 1, range };
        let address = PeerAddress { peer: PeerId([1; 32]), addresses: vec!["/ip4/10.0.0.1/tcp/1".into()] };
        let offer = DocumentOffer { id: DocumentId([2; 32]), kind: DocumentKind::Report, bytes: 900 };
        let have = WirePieceSet::Runs(vec![0, 512]);
        vec![
            Message::Hello(hello()),
            Message::Ping(1),
            Message::Pong(2),
            Message::Addresses(vec![address]),
            Message::Offer(vec![offer]),
            Message::Want(vec![DocumentId([2; 32])]),
            Message::Document(b"{}".to_vec()),
            Message::Digest(CatalogDigest { count: 1, xor: [2; 32] }),
            Message::Open(Open {
                channel: 1,
                content: ContentHash([3; 32]),
                length: 64 << 20,
                piece_bytes: 131_072,
                have,
            }),
            Message::Close(1),
            Message::Have(Have { channel: 1, pieces: vec![PieceIndex(5), PieceIndex(300)] }),
            Message::Credit(Credit { channel: 1, pieces: 2 }),
            Message::Request(request),
            Message::Cancel(request),
            Message::Decline(request),
            Message::Mode(ServeMode::Grant),
            Message::Goodbye(Goodbye::Revoked),
            Message::Probe(u64::MAX),
            Message::Probed(Probed { nonce: 7, reached: true }),
        ]
    }

    fn encoded(messages: &[Message]) -> Vec<u8> {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| encode_control(message, &mut bytes));
        bytes
    }

    fn decoded(mut bytes: &[u8]) -> Result<Vec<Message>, WireError> {
        let mut messages = Vec::new();
        while let Some((message, took)) = decode_control(bytes)? {
            messages.push(message);
            bytes = &bytes[took..];
        }
        Ok(messages)
    }

    #[test]
    fn every_message_survives_the_wire_at_every_split() {
        let bytes = encoded(&one_of_each());
        assert_eq!(decoded(&bytes).unwrap(), one_of_each());
        for cut in 0..bytes.len() {
            let before = decoded(&bytes[..cut]).unwrap();
            assert_eq!(before[..], one_of_each()[..before.len()]);
        }
    }

    #[test]
    fn a_later_version_may_add_messages_and_append_fields() {
        let mut bytes = vec![3, 99, 1, 2];
        let mut longer = encoded(&[Message::Hello(hello())]);
        longer[0] += 2;
        longer.extend([42, 43]);
        bytes.extend(longer);
        assert_eq!(decoded(&bytes).unwrap(), vec![Message::Unknown(99), Message::Hello(hello())]);
    }

    #[test]
    fn a_goodbye_for_a_reason_of_a_later_version_is_one_without_a_known_reason() {
        assert_eq!(decoded(&[2, 17, 99]).unwrap(), vec![Message::Goodbye(Goodbye::Unknown)]);
    }

    #[test]
    fn a_frame_beyond_its_limit_is_refused_before_its_bytes_arrive() {
        let mut bytes = Vec::new();
        put_varint(SMALL_FRAME_MAX as u64 + 1, &mut bytes);
        bytes.push(2);
        let max = SMALL_FRAME_MAX;
        assert_eq!(decode_control(&bytes), Err(WireError::TooLong { bytes: max + 1, max }));
        assert_eq!(decode_control(&[0xff; 4]), Err(WireError::Malformed));
        assert_eq!(decode_control(&[0]), Err(WireError::Malformed));
        assert!(decode_data_length(&[0xff, 0xff, 0x7f]).is_err());
    }

    #[test]
    fn a_have_costs_a_few_bytes() {
        let have = Message::Have(Have { channel: 1, pieces: vec![PieceIndex(300)] });
        assert_eq!(encoded(&[have]).len(), 6);
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_never_consume_more_than_there_is(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((_, took))) = decode_control(&bytes) {
                prop_assert!(took <= bytes.len());
            }
            let _ = decode_data_length(&bytes);
            let _ = decode_data_header(&bytes);
        }

        #[test]
        fn a_mutated_frame_never_panics(at in 0_usize..2000, value in any::<u8>()) {
            let mut bytes = encoded(&one_of_each());
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = decoded(&bytes);
        }
    }
}
