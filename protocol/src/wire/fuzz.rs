//! Fuzz targets as plain functions: they panic when an invariant of a decoder is broken.

use super::Message;
use super::codec::{
    CONTROL_FRAME_MAX, decode_control, decode_data_header, decode_data_length, encode_control,
    encode_data_header,
};
use crate::piece_set::{PieceSet, WirePieceSet};

/// Any bytes are control frames, the beginning of one, or an error; a message survives being written and read.
pub fn fuzz_control(mut data: &[u8]) {
    while let Ok(Some((message, took))) = decode_control(data) {
        assert!(took >= 2 && took <= data.len() && took <= CONTROL_FRAME_MAX + 4);
        if !matches!(message, Message::Unknown(_)) {
            let mut bytes = Vec::new();
            encode_control(&message, &mut bytes);
            assert!(bytes.len() <= took, "our spelling is the shortest");
            assert_eq!(decode_control(&bytes), Ok(Some((message, bytes.len()))));
        }
        data = &data[took..];
    }
}

/// Any bytes are a data frame, the beginning of one, or an error; a header survives being written and read.
pub fn fuzz_data(data: &[u8]) {
    let Ok(Some((length, start))) = decode_data_length(data) else { return };
    let Some(body) = data.get(start..start + length) else { return };
    let Ok((header, took)) = decode_data_header(body) else { return };
    assert!(took <= body.len());
    let bao = body.len() - took;
    let frame = encode_data_header(&header, bao);
    let again = decode_data_length(&frame);
    let Ok(Some((length, start))) = again else { panic!("our own length: {again:?}") };
    assert_eq!(length + start, frame.len() + bao);
    assert_eq!(decode_data_header(&frame[start..]), Ok((header, frame.len() - start)));
}

/// Any wire form is a set of an artifact's pieces or an error; a set survives being written and read.
/// The first two bytes choose how many pieces the artifact has.
pub fn fuzz_piece_set(data: &[u8]) {
    let [low, high, wire @ ..] = data else { return };
    let len = u32::from(u16::from_le_bytes([*low, *high]));
    let Ok(wire) = postcard::from_bytes::<WirePieceSet>(wire) else { return };
    let Ok(set) = PieceSet::from_wire(&wire, len) else { return };
    assert_eq!(set.len(), len);
    assert_eq!(set.iter().count(), set.count() as usize);
    assert!(set.iter().all(|piece| piece.0 < len));
    assert_eq!(PieceSet::from_wire(&set.to_wire(), len), Ok(set));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_keep_the_invariants_of_every_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz_control(&bytes);
            fuzz_data(&bytes);
            fuzz_piece_set(&bytes);
        }

        #[test]
        fn framed_bytes_of_every_type_keep_them(kind in 0_u8..20, payload in prop::collection::vec(0_u8..8, 0..60)) {
            let frame = [&[payload.len() as u8 + 1, kind], &payload[..]].concat();
            fuzz_control(&frame);
            fuzz_data(&frame);
            fuzz_piece_set(&[&[payload.len() as u8, 0], &payload[..]].concat());
        }
    }
}
