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
        retry: false,
        attempts_max: 1,
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

// D5
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

// D1
#[test]
fn endless_data_is_refused_before_it_is_parsed() {
    let bytes = vec![b'['; ENVELOPE_BYTES_MAX + 1];
    let expected = DocumentError::TooLarge { bytes: ENVELOPE_BYTES_MAX + 1, max: ENVELOPE_BYTES_MAX };
    assert_eq!(Envelope::parse(&bytes), Err(expected));
}

// D2
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

// D4
#[test]
fn a_critical_field_is_accepted_if_this_version_knows_it_and_refused_by_name_if_not() {
    let mut envelope = example();
    let json = String::from_utf8(envelope.payload.clone()).unwrap();
    let mut with = |fields: &str| {
        envelope.payload = json.replacen('{', &format!("{{{fields},"), 1).into_bytes();
        envelope.unverified_payload::<Rollout>().map(|rollout| rollout.crit)
    };
    let unknown = |field: &str| Err(DocumentError::Critical(field.into()));
    assert_eq!(with(r#""gates":[]"#), Ok(vec![]));
    assert_eq!(with(r#""crit":["gates"],"gates":[]"#), unknown("gates"));
    assert_eq!(with(r#""crit":["rollback_to","state"]"#), Ok(vec!["rollback_to".into(), "state".into()]));
    assert_eq!(with(r#""crit":["state","gates"],"gates":[]"#), unknown("gates"));
    assert_eq!(with(r#""crit":["Rollout"]"#), unknown("Rollout"));
}

// D4
#[test]
fn every_list_of_critical_fields_knows_the_fields_beside_it() {
    let release = |change: fn(&mut Release)| {
        let mut release = crate::trust::tests::release(1);
        change(&mut release);
        release.validate()
    };
    assert_eq!(release(|r| r.crit = vec!["security_counter".into()]), Ok(()));
    assert_eq!(release(|r| r.artifacts[0].crit = vec!["mode".into()]), Ok(()));
    assert_eq!(release(|r| r.artifacts[0].representations[0].crit = vec!["base".into()]), Ok(()));
    let unknown = Err(DocumentError::Critical("mode".into()));
    assert_eq!(release(|r| r.crit = vec!["mode".into()]), unknown);
    assert_eq!(release(|r| r.artifacts[0].representations[0].crit = vec!["mode".into()]), unknown);
}

// D3
#[test]
fn each_kind_has_its_payload_type_and_reads_no_other() {
    for kind in [
        TrustRoot::PAYLOAD_TYPE,
        Release::PAYLOAD_TYPE,
        Rollout::PAYLOAD_TYPE,
        Withdrawal::PAYLOAD_TYPE,
        Enrollment::PAYLOAD_TYPE,
        Report::PAYLOAD_TYPE,
    ] {
        let name =
            kind.strip_prefix("application/vnd.samara.").and_then(|k| k.strip_suffix(".v1+json")).unwrap();
        assert!(DOCUMENT.contains(&format!("`{name}`")));
        let typed = Envelope { payload_type: kind.into(), ..example() };
        assert_eq!(typed.unverified_payload::<Rollout>().is_ok(), kind == Rollout::PAYLOAD_TYPE);
        assert!(typed.kind().is_ok());
    }
    let newer = "application/vnd.samara.rollout.v2+json";
    let typed = Envelope { payload_type: newer.into(), ..example() };
    assert_eq!(typed.kind(), Err(DocumentError::UnknownType(newer.into())));
}

// D1
#[test]
fn a_report_is_small_with_all_that_it_carries_and_an_envelope_has_few_signatures() {
    let report = crate::trust::tests::report(1);
    let mut envelope = Envelope::unsigned(&report).unwrap();
    let json = String::from_utf8(envelope.payload.clone()).unwrap();
    let mut padded = |bytes: usize| {
        let field =
            format!(r#"{{"unknown":"{}","#, "x".repeat(bytes - json.len() - r#""unknown":"","#.len()));
        envelope.payload = json.replacen('{', &field, 1).into_bytes();
        assert_eq!(envelope.payload.len(), bytes);
        envelope.unverified_payload::<Report>().map(|_| ())
    };
    assert_eq!(padded(REPORT_BYTES_MAX), Ok(()));
    let (bytes, max) = (REPORT_BYTES_MAX + 1, REPORT_BYTES_MAX);
    assert_eq!(padded(bytes), Err(DocumentError::TooLarge { bytes, max }));
    let long = Report { reason: "x".repeat(TEXT_MAX), ..report };
    assert!(matches!(Envelope::unsigned(&long), Err(DocumentError::TooLarge { .. })));
    let mut many = example();
    many.signatures = vec![many.signatures[0].clone(); SIGNATURES_MAX];
    assert!(Envelope::parse(&many.to_bytes()).is_ok());
    many.signatures.push(many.signatures[0].clone());
    assert!(matches!(Envelope::parse(&many.to_bytes()), Err(DocumentError::Envelope(_))));
}

// D6, D8
#[test]
fn an_artifact_whose_destination_no_device_could_place_is_refused() {
    let longest = "x".repeat(crate::artifact::DESTINATION_NAME_MAX);
    let (long, deep) = (format!("{longest}x"), format!("{}/{longest}", "x".repeat(255)));
    let at = |destination: &str| {
        let mut release = crate::trust::tests::release(1);
        release.artifacts[0].destination = destination.into();
        release.validate()
    };
    assert_eq!((longest.len(), at(&longest), at(&deep)), (183, Ok(()), Ok(())));
    let leaving = ["../app", "/app", "a//b", "a/./b", "a/../../b", ""];
    let unusable = ["a\0b", "a\nb", "a\u{1b}b", ".samara", "x/app.samara-new", "app.samara-kept/x", &long];
    for destination in leaving.into_iter().chain(unusable) {
        let refused = at(destination);
        assert!(
            matches!(refused, Err(DocumentError::Field { field: "artifacts.destination", .. })),
            "{refused:?}"
        );
    }
}

// D10
#[test]
fn a_device_or_a_role_whose_key_nobody_can_sign_with_is_refused() {
    let not_a_point = std::array::from_fn(|at| if at == 0 { 2 } else { 0 });
    for key in [not_a_point, [0; 32]] {
        let device = crate::id::PeerId(key);
        let enrollment = Enrollment { device, ..crate::trust::tests::enrollment(1) };
        let refused = enrollment.validate();
        assert!(matches!(refused, Err(DocumentError::Field { field: "device", .. })), "{refused:?}");
        let mut root = crate::trust::tests::root();
        root.roles.release.keys.push(crate::id::KeyId(key));
        let refused = root.validate();
        assert!(matches!(refused, Err(DocumentError::Field { field: "roles.release", .. })), "{refused:?}");
    }
}

/// Why a change of a well-formed document is refused: the field, if it is.
fn refused<T: Document + Clone>(document: &T, change: impl FnOnce(&mut T)) -> Option<&'static str> {
    let mut changed = document.clone();
    change(&mut changed);
    match changed.validate() {
        Ok(()) => None,
        Err(DocumentError::Field { field, .. }) => Some(field),
        Err(other) => panic!("{other}"),
    }
}

// D11
#[test]
fn a_text_that_could_drive_a_terminal_or_forge_a_line_is_refused_in_every_field() {
    use crate::trust::tests as site;
    let (release, enrollment, report) = (site::release(1), site::enrollment(1), site::report(1));
    let withdrawal = site::withdrawal(None, None, DocumentId([4; 32]));
    for c in ['\n', '\r', '\t', '\0', '\u{1b}', '\u{7f}', '\u{9b}', '\u{2028}', '\u{202e}', '\u{2066}'] {
        let text = format!("a{c}b");
        let list = || vec![text.clone()];
        let of = |change: &dyn Fn(&mut Release)| refused(&release, change);
        assert_eq!(of(&|r| r.issuer.clone_from(&text)), Some("issuer"));
        assert_eq!(of(&|r| r.product.clone_from(&text)), Some("product"));
        assert_eq!(of(&|r| r.channel.clone_from(&text)), Some("channel"));
        assert_eq!(of(&|r| r.version.clone_from(&text)), Some("version"));
        assert_eq!(of(&|r| r.notes = [(text.clone(), String::new())].into()), Some("notes"));
        let lines = of(&|r| r.notes = [("en".to_owned(), text.clone())].into());
        assert_eq!(lines, (c != '\n').then_some("notes"), "notes may have lines");
        assert_eq!(of(&|r| r.compatibility.hardware = list()), Some("compatibility.hardware"));
        assert_eq!(of(&|r| r.compatibility.architecture = list()), Some("compatibility.architecture"));
        assert_eq!(of(&|r| r.artifacts[0].name.clone_from(&text)), Some("artifacts.name"));
        assert_eq!(of(&|r| r.artifacts[0].when.hardware = list()), Some("artifacts.when"));
        let of = |change: &dyn Fn(&mut Enrollment)| refused(&enrollment, change);
        assert_eq!(of(&|e| e.name.clone_from(&text)), Some("name"));
        assert_eq!(of(&|e| e.product.clone_from(&text)), Some("product"));
        assert_eq!(of(&|e| e.hardware.clone_from(&text)), Some("hardware"));
        assert_eq!(of(&|e| e.area.clone_from(&text)), Some("area"));
        assert_eq!(of(&|e| e.tags = list()), Some("tags"));
        let of = |change: &dyn Fn(&mut Report)| refused(&report, change);
        assert_eq!(of(&|r| r.state.clone_from(&text)), Some("state"));
        assert_eq!(of(&|r| r.reason.clone_from(&text)), Some("reason"));
        assert_eq!(of(&|r| r.alarms = list()), Some("alarms"));
        assert_eq!(of(&|r| r.versions = [("pump".into(), text.clone())].into()), Some("versions"));
        assert_eq!(refused(&withdrawal, |w| w.reason.clone_from(&text)), Some("reason"));
        assert_eq!(refused(&withdrawal, |w| w.product = Some(text.clone())), Some("product"));
        let named = |root: &mut TrustRoot| root.products = [(site::id(site::RELEASE2), list())].into();
        assert_eq!(refused(&site::root(), named), Some("products"));
        let dated = |rollout: &mut Rollout| rollout.fresh_until = Some(text.clone());
        assert_eq!(refused(&site::rollout(1, RolloutState::Active), dated), Some("fresh_until"));
    }
}

// D11
#[test]
fn a_name_has_a_length_and_something_on_it() {
    let release = crate::trust::tests::release(1);
    let version = |text: String| refused(&release, |release| release.version = text);
    assert_eq!(version("größe 型 1.0".into()), None);
    assert_eq!(version("x".repeat(NAME_MAX)), None);
    for wrong in ["x".repeat(NAME_MAX + 1), String::new(), "  ".into()] {
        assert_eq!(version(wrong), Some("version"));
    }
    let notes = |bytes: usize| refused(&release, |r| r.notes = [("en".into(), "x".repeat(bytes))].into());
    assert_eq!((notes(8 * TEXT_MAX), notes(8 * TEXT_MAX + 1)), (None, Some("notes")));
}

// D11
#[test]
fn any_text_can_be_made_one_line_that_a_report_carries() {
    let report = crate::trust::tests::report(1);
    for (text, bytes_max, expected) in [
        ("cannot write a\nb: \u{1b}[2Jfull", 99, "cannot write a b:  [2Jfull"),
        ("größe", 5, "grö"),
        ("", 5, ""),
    ] {
        let reason = one_line(text, bytes_max);
        assert_eq!((reason.as_str(), refused(&report, |r| r.reason.clone_from(&reason))), (expected, None));
    }
}

#[test]
fn the_states_of_a_release_are_those_of_the_documentation() {
    let table = DOCUMENT.split("## Where a release stands").nth(1).unwrap().split("\n## ").next().unwrap();
    let words = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(words.collect::<Vec<_>>(), ReleaseState::ALL.map(ReleaseState::as_str));
    for state in ReleaseState::ALL {
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!((json, ReleaseState::of(state.as_str())), (format!("\"{state}\""), Some(state)));
    }
    assert_eq!(ReleaseState::of("committed"), None);
}

/// Only the tests of a file that has code, too.
fn tests_of(source: &str) -> &str {
    source.split_once("#[cfg(test)]").map_or(source, |(_, tests)| tests)
}

#[test]
fn every_numbered_rule_of_the_documentation_is_cited_by_a_test() {
    let tests = [
        include_str!("tests.rs"),
        include_str!("../trust/tests/attacks.rs"),
        include_str!("../trust/tests/kept.rs"),
        include_str!("../trust/tests/order.rs"),
        include_str!("../trust/tests/verdicts.rs"),
        include_str!("../rollout/tests.rs"),
        tests_of(include_str!("../artifact/mod.rs")),
        tests_of(include_str!("kinds/artifact.rs")),
        tests_of(include_str!("kinds/lifecycle.rs")),
        tests_of(include_str!("kinds/release.rs")),
    ];
    let cited: std::collections::BTreeSet<&str> =
        tests.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric())).collect();
    let rules = DOCUMENT.lines().filter_map(|line| line.strip_prefix("- **")?.split_once("**"));
    let rules: Vec<&str> = rules.map(|(rule, _)| rule).collect();
    let uncited: Vec<_> = rules.iter().filter(|rule| !cited.contains(**rule)).collect();
    assert!(rules.len() >= 24 && uncited.is_empty(), "{} rules, no test cites {uncited:?}", rules.len());
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
