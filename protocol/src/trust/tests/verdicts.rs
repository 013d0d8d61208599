//! T11: each refusal, whether an honest peer could have passed the document on, and what may turn it.

use super::*;
use Verdict::{Copy, Final, Violation};

const LATER: Verdict = Verdict::Awaits(Awaits::TrustRoot);

/// A refusal of each kind, with its verdict.
fn all() -> Vec<(Refusal, Verdict)> {
    let (key, device, text) = (id(NOBODY), device(), String::new());
    let (have, offered) = (2, 1);
    let ids = (DocumentId([1; 32]), DocumentId([2; 32]));
    vec![
        (DocumentError::TooLarge { bytes: 2, max: 1 }.into(), Violation),
        (DocumentError::Json(text.clone()).into(), Violation),
        (DocumentError::Envelope(text.clone()).into(), Violation),
        (DocumentError::UnknownType(text.clone()).into(), Final),
        (DocumentError::WrongKind { wanted: "a", got: text.clone() }.into(), Violation),
        (DocumentError::Critical(text.clone()).into(), Final),
        (DocumentError::Field { field: "a", problem: text.clone() }.into(), Final),
        (Refusal::Unsigned, Violation),
        (Refusal::BadSignature { key }, Violation),
        (Refusal::WrongRole { role: "release" }, Copy),
        (Refusal::BelowThreshold { role: "release", have: 1, wanted: 2 }, Copy),
        (Refusal::DuplicateKey { key }, Violation),
        (Refusal::RevokedKey { key }, Copy),
        (Refusal::RevokedDevice { device }, LATER),
        (Refusal::NotEnrolled { device }, Verdict::Awaits(Awaits::Enrollment(device))),
        (Refusal::ForgedReport { device }, Violation),
        (Refusal::ProductNotAllowed { key, product: text }, Copy),
        (Refusal::OtherSite { have: SITE, offered: SiteId([2; 16]) }, Violation),
        (Refusal::WrongVersionStep { have: 1, offered: 3 }, LATER),
        (Refusal::WrongVersionStep { have: 1, offered: 2 }, Final),
        (Refusal::OlderTrustRoot { have, offered }, Final),
        (Refusal::ForkedTrustRoot { have: ids.0, offered: ids.1 }, Final),
        (Refusal::OlderEpoch { have, offered }, Final),
        (Refusal::NewerEpoch { have, offered }, LATER),
        (Refusal::OlderSchema { min: 2, offered: 1 }, LATER),
        (Refusal::OlderRelease { have, offered }, Verdict::Awaits(Awaits::Rollout)),
        (Refusal::OlderSequence { have, offered }, Final),
        (Refusal::SameSequence { have: ids.0, offered: ids.1 }, Final),
        (Refusal::OlderReport { have: (1, 2), offered: (1, 1) }, Final),
    ]
}

/// A number for each variant; without a wildcard, so that a new one does not compile before it is listed here and above.
fn number(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::Document(error) => match error {
            DocumentError::TooLarge { .. } => 0,
            DocumentError::Json(_) => 1,
            DocumentError::Envelope(_) => 2,
            DocumentError::UnknownType(_) => 3,
            DocumentError::WrongKind { .. } => 4,
            DocumentError::Critical(_) => 5,
            DocumentError::Field { .. } => 6,
        },
        Refusal::Unsigned => 7,
        Refusal::BadSignature { .. } => 8,
        Refusal::WrongRole { .. } => 9,
        Refusal::BelowThreshold { .. } => 10,
        Refusal::DuplicateKey { .. } => 11,
        Refusal::RevokedKey { .. } => 12,
        Refusal::RevokedDevice { .. } => 13,
        Refusal::NotEnrolled { .. } => 14,
        Refusal::ForgedReport { .. } => 15,
        Refusal::ProductNotAllowed { .. } => 16,
        Refusal::OtherSite { .. } => 17,
        Refusal::WrongVersionStep { .. } => 18,
        Refusal::OlderTrustRoot { .. } => 19,
        Refusal::ForkedTrustRoot { .. } => 20,
        Refusal::OlderEpoch { .. } => 21,
        Refusal::NewerEpoch { .. } => 22,
        Refusal::OlderSchema { .. } => 23,
        Refusal::OlderRelease { .. } => 24,
        Refusal::OlderSequence { .. } => 25,
        Refusal::SameSequence { .. } => 26,
        Refusal::OlderReport { .. } => 27,
    }
}

#[test]
fn each_refusal_says_whom_it_blames_and_what_may_turn_it() {
    let mut seen = std::collections::BTreeSet::new();
    for (refusal, verdict) in all() {
        seen.insert(number(&refusal));
        assert_eq!(refusal.verdict(), verdict, "{refusal}");
    }
    assert_eq!(seen, (0..=27).collect());
}

#[test]
fn only_what_blames_nobody_is_kept_for_later() {
    for (refusal, verdict) in all() {
        assert_eq!(verdict.awaits().is_some(), !matches!(verdict, Violation | Final), "{refusal}");
    }
}
