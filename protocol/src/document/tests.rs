//! Documents as a reader meets them: limits, shapes, and every way to be malformed.

use super::fuzz::{fuzz_envelope, fuzz_payload};
use super::*;
use crate::id::{DocumentId, RolloutId, SiteId};
use base64::Engine as _;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;

const DOCUMENT: &str = include_str!("../../../docs/DOCUMENTS.md");

fn example() -> Envelope {
    let rollout = Rollout {
        site: SiteId([0x51; 16]),
        rollout_id: RolloutId([0x42; 16]),
        epoch: 1,
        sequence: 1,
        release: DocumentId([0xab; 32]),
        selector: Selector::All,
        state: RolloutState::Active,
        rollback_to: None,
        fresh_until: None,
        crit: Vec::new(),
    };
    let mut envelope = Envelope::unsigned(&rollout).unwrap();
    envelope.sign(&SigningKey::from_bytes(&[2; 32]));
    envelope
}

fn wrapped(payload: &str) -> Result<Envelope, DocumentError> {
    let payload = base64::engine::general_purpose::STANDARD.encode(payload);
    Envelope::parse(format!(r#"{{"payloadType":"t","payload":"{payload}","signatures":[]}}"#).as_bytes())
}

#[test]
fn the_example_in_the_documentation_is_what_this_code_writes_and_reads() {
    let block = DOCUMENT.split("```json example\n").nth(1).expect("an example").split("```").next().unwrap();
    assert_eq!(block.trim().as_bytes(), example().to_bytes());
    assert_eq!(Envelope::parse(block.trim().as_bytes()), Ok(example()));
    assert!(DOCUMENT.contains(&format!("`{}`", example().id())));
}

#[test]
fn the_signed_bytes_are_those_of_the_dsse_specification() {
    let envelope = Envelope {
        payload_type: "http://example.com/HelloWorld".into(),
        payload: b"hello world".into(),
        signatures: vec![],
    };
    assert_eq!(envelope.pae(), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

#[test]
fn more_signatures_do_not_change_the_id() {
    let (id, mut envelope) = (example().id(), example());
    envelope.sign(&SigningKey::from_bytes(&[3; 32]));
    envelope.sign(&SigningKey::from_bytes(&[3; 32]));
    assert_eq!((envelope.id(), envelope.signatures.len()), (id, 2));
}

#[test]
fn endless_data_is_refused_before_it_is_parsed() {
    let bytes = vec![b'['; ENVELOPE_BYTES_MAX + 1];
    let expected = DocumentError::TooLarge { bytes: ENVELOPE_BYTES_MAX + 1, max: ENVELOPE_BYTES_MAX };
    assert_eq!(Envelope::parse(&bytes), Err(expected));
}

#[test]
fn json_that_two_readers_could_read_differently_is_refused() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for (payload, accepted) in [
        (r#"{"a":1,"a":2}"#, false),
        (r#"{"a":{"b":1,"\u0062":2}}"#, false),
        (r#"{"a":9007199254740991}"#, true),
        (r#"{"a":9007199254740992}"#, false),
        (r#"{"a":-9007199254740992}"#, false),
        (r#"{"a":1.5}"#, false),
        (r#"{"a":1e3}"#, false),
        (r#"{} {}"#, false),
        (&deep(DEPTH_MAX), true),
        (&deep(DEPTH_MAX + 1), false),
    ] {
        assert_eq!(wrapped(payload).is_ok(), accepted, "{payload}");
    }
}

#[test]
fn unknown_fields_are_ignored_unless_the_document_calls_them_critical() {
    let mut envelope = example();
    let json = String::from_utf8(envelope.payload.clone()).unwrap();
    envelope.payload = json.replacen('{', r#"{"gates":[],"#, 1).into_bytes();
    assert!(envelope.unverified_payload::<Rollout>().is_ok());
    envelope.payload = json.replacen('{', r#"{"crit":["gates"],"gates":[],"#, 1).into_bytes();
    let refused = envelope.unverified_payload::<Rollout>();
    assert_eq!(refused, Err(DocumentError::Critical("gates".into())));
}

proptest! {
    #[test]
    fn hostile_envelopes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_envelope(&bytes);
        fuzz_payload(&bytes);
    }

    #[test]
    fn damaged_envelopes_never_panic(at in 0_usize..600, byte: u8) {
        let mut bytes = example().to_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        fuzz_envelope(&bytes);
        let mut payload = example().payload;
        let at = at % payload.len();
        payload[at] = byte;
        fuzz_payload(&payload);
    }
}
