//! For which devices a release is: what it was made for (else it is not applicable), and what must be there (else it
//! is rejected).

use super::{Facts, artifacts_for};
use crate::document::{Compatibility, Release};
use crate::trust::Verified;
use semver::{Version, VersionReq};

/// Whether a list allows what a device is; an empty one allows all.
pub(super) fn fits(allowed: &[String], fact: &String) -> bool {
    allowed.is_empty() || allowed.contains(fact)
}

/// T17: why a release is not for a device.
pub(super) fn unsuited(release: &Release, facts: &Facts) -> Option<String> {
    let Compatibility { hardware, architecture, min_agent, .. } = &release.compatibility;
    if !facts.product.is_empty() && facts.product != release.product {
        return Some(format!("it is for {}, this device is a {}", release.product, facts.product));
    }
    if !fits(hardware, &facts.hardware) {
        return Some(format!("it is not for hardware {}", facts.hardware));
    }
    if !fits(architecture, &facts.architecture) {
        return Some(format!("it is not for architecture {}", facts.architecture));
    }
    if let Some(min) = min_agent.as_ref().filter(|min| !is_reached(min, &facts.agent)) {
        return Some(format!("it needs samara-node {min} or later; this is {}", facts.agent));
    }
    if release.min_protocol > facts.protocol {
        let (min, own) = (release.min_protocol, facts.protocol);
        return Some(format!("it needs mesh protocol {min} or later; this device speaks {own}"));
    }
    artifacts_for(release, facts).next().is_none().then(|| "none of its artifacts is for this device".into())
}

/// T22: what must be installed for a release and is not.
pub(super) fn unmet<'a>(
    release: &Release,
    in_place: impl Iterator<Item = &'a Verified<Release>> + Clone,
) -> Option<String> {
    release.compatibility.components.iter().find_map(|(product, range)| {
        let mut there = in_place.clone().filter(|other| other.product == *product);
        let (range_of, first) = (VersionReq::parse(range).ok(), there.next());
        let fits = |other: &Verified<Release>| match (&range_of, Version::parse(&other.version)) {
            (Some(range), Ok(version)) => range.matches(&version),
            _ => false,
        };
        match first {
            None => Some(format!("it needs {product} {range}, which is not installed")),
            Some(first) if fits(first) || there.any(fits) => None,
            Some(first) => Some(format!("it needs {product} {range}; {} is installed", first.version)),
        }
    })
}

/// By the precedence of semantic versioning: a release candidate is older than its release, builds are equal.
fn is_reached(min: &str, version: &str) -> bool {
    match (Version::parse(min), Version::parse(version)) {
        (Ok(min), Ok(version)) => version.cmp_precedence(&min).is_ge(),
        _ => false,
    }
}
