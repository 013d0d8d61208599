//! The example of `docs/PROTOCOL.md`, decoded out of the document.

use super::codec::{
    decode_control, decode_data_header, decode_data_length, encode_control, encode_data_header,
};
use super::*;
use crate::geometry::PieceRange;

const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");

fn example(name: &str) -> Vec<u8> {
    let (_, rest) = DOCUMENT.split_once(&format!("```hex {name}\n")).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let digits: String = block
        .lines()
        .map(|line| line.split('#').next().unwrap())
        .flat_map(|line| line.chars().filter(|c| !c.is_whitespace()))
        .collect();
    data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
}

#[test]
fn the_documented_control_stream_is_what_we_read_and_write() {
    let range = PieceRange { piece: PieceIndex(300), first_group: 0, groups: 8 };
    let messages = [
        Message::Hello(Hello {
            version: PROTOCOL_VERSION,
            version_min: PROTOCOL_VERSION_MIN,
            features: vec![],
            site: SiteId([0x51; 16]),
            agent: "a/1".into(),
            mode: ServeMode::Pull,
            enrollment: vec![],
            listen: vec![],
        }),
        Message::Open(Open {
            channel: 1,
            content: ContentHash([3; 32]),
            length: 64 << 20,
            piece_bytes: 131_072,
            have: WirePieceSet::Runs(vec![0, 512]),
        }),
        Message::Have(Have { channel: 1, pieces: vec![PieceIndex(5), PieceIndex(300)] }),
        Message::Request(Request { channel: 1, range }),
    ];
    let bytes = example("control");
    let mut written = Vec::new();
    messages.iter().for_each(|message| encode_control(message, &mut written));
    assert_eq!(written, bytes);
    let mut rest = &bytes[..];
    for message in messages {
        let (read, took) = decode_control(rest).unwrap().unwrap();
        assert_eq!(read, message);
        rest = &rest[took..];
    }
    assert!(rest.is_empty());
}

#[test]
fn the_documented_data_frame_is_what_we_read_and_write() {
    let bytes = example("data");
    let (length, start) = decode_data_length(&bytes).unwrap().unwrap();
    assert_eq!(start + length, bytes.len());
    let (header, took) = decode_data_header(&bytes[start..]).unwrap();
    let range = PieceRange { piece: PieceIndex(300), first_group: 0, groups: 8 };
    assert_eq!(header, DataHeader { channel: 1, range });
    let bao = &bytes[start + took..];
    assert_eq!(bao, b"bao!");
    assert_eq!([&encode_data_header(&header, bao.len())[..], bao].concat(), bytes);
}
