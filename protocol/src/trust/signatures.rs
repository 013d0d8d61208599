//! T3: which keys signed an envelope, and whether they are enough for a role.

use super::Refusal;
use crate::document::{Envelope, Role};
use crate::id::KeyId;
use ed25519_dalek::{Signature, VerifyingKey};
use std::collections::BTreeSet;

/// No key signs twice and every signature is right, before a field of the payload is read. A key id is the key, so
/// every peer can check all of them, whatever trust root it has, and whoever passes on a wrong one is to blame.
pub(super) fn verify_all(envelope: &Envelope) -> Result<(), Refusal> {
    let mut signers = BTreeSet::new();
    if let Some(twice) = envelope.signatures.iter().find(|s| !signers.insert(s.key)) {
        return Err(Refusal::DuplicateKey { key: twice.key });
    }
    if envelope.signatures.is_empty() {
        return Err(Refusal::Unsigned);
    }
    let pae = envelope.pae();
    for signature in &envelope.signatures {
        let checked = VerifyingKey::from_bytes(&signature.key.0)
            .and_then(|key| key.verify_strict(&pae, &Signature::from_bytes(&signature.signature)));
        checked.map_err(|_| Refusal::BadSignature { key: signature.key })?;
    }
    Ok(())
}

/// At least `threshold` distinct keys of the role have signed and `may_sign`, all verified before.
///
/// Signatures that do not count are no fault: another role may count them, and whoever passes a document on can add
/// them. Only where too few remain, the first that did not count says why.
pub(super) fn check_role(
    envelope: &Envelope,
    name: &'static str,
    role: &Role,
    may_sign: impl Fn(KeyId) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut valid = 0;
    let mut why = None;
    for signature in envelope.signatures.iter().filter(|s| role.keys.contains(&s.key)) {
        match may_sign(signature.key) {
            Ok(()) => valid += 1,
            Err(refusal) => {
                why.get_or_insert(refusal);
            }
        }
    }
    if valid > 0 && valid >= role.threshold {
        return Ok(());
    }
    Err(why.unwrap_or(if valid == 0 {
        Refusal::WrongRole { role: name }
    } else {
        Refusal::BelowThreshold { role: name, have: valid, wanted: role.threshold }
    }))
}
