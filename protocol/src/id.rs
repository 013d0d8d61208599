//! Identities: who a peer is, what a content is, which document is meant. Parsed once, at the boundary.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} lower-case hexadecimal digits, got {got:?}")]
pub struct IdError {
    /// How many digits this kind of identity has.
    pub expected: usize,
    /// The beginning of what was given instead.
    pub got: String,
}

/// Bytes that can sign nothing: no point of Ed25519, or one of small order, by which anybody could sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is no Ed25519 public key that can sign")]
pub struct KeyError {
    /// Which.
    pub key: KeyId,
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub [u8; $len]);

        /// As the bytes are ordered. Identities are random, so that the first eight decide: maps are searched by them.
        impl Ord for $name {
            #[inline]
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                let head = |id: &Self| id.0.first_chunk().copied().map(u64::from_be_bytes);
                head(self).cmp(&head(other)).then_with(|| self.0.cmp(&other.0))
            }
        }

        impl PartialOrd for $name {
            #[inline]
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// The first ten hexadecimal digits, for people and logs; never for comparison.
            pub fn short(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0)[..10].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let bad = || IdError { expected: $len * 2, got: text.chars().take(80).collect() };
                let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| bad())?;
                bytes.try_into().map(Self).map_err(|_| bad())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { self.0.serialize(s) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(d).map(Self)
                }
            }
        }
    };
}

hex_id!(
    /// A peer on the mesh: the Ed25519 public key that its encrypted connection proved.
    ///
    /// A device's documents (Enrollment, Report) name the device by the same 32 bytes.
    PeerId,
    32
);
hex_id!(
    /// The BLAKE3 root of an artifact's bytes; its identity on the mesh and on disk.
    ContentHash,
    32
);
hex_id!(
    /// BLAKE3 of a document's DSSE pre-authentication encoding; more signatures do not change it.
    DocumentId,
    32
);
hex_id!(
    /// The devices under one trust root: 16 random bytes, drawn by `samara site init`.
    SiteId,
    16
);

hex_id!(
    /// An Ed25519 public key that signs documents.
    KeyId,
    32
);
impl KeyId {
    /// D10: whether some secret key has this public key, and nobody else signs for it.
    pub fn check(self) -> Result<(), KeyError> {
        match ed25519_dalek::VerifyingKey::from_bytes(&self.0) {
            Ok(key) if !key.is_weak() => Ok(()),
            _ => Err(KeyError { key: self }),
        }
    }
}

hex_id!(
    /// A rollout over all its sequences: 16 random bytes.
    RolloutId,
    16
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_text_and_binary() {
        let id = PeerId(std::array::from_fn(|i| i as u8));
        assert_eq!(id.to_string().parse::<PeerId>(), Ok(id));
        assert_eq!(postcard::from_bytes::<PeerId>(&postcard::to_allocvec(&id).unwrap()), Ok(id));
        assert_eq!(postcard::to_allocvec(&id).unwrap().len(), 32);
        assert_eq!(serde_json::from_str::<PeerId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    }

    #[test]
    fn identities_are_ordered_as_their_bytes_are() {
        let ids: Vec<PeerId> =
            (0..200_u32).map(|i| PeerId(*blake3::hash(&i.to_le_bytes()).as_bytes())).collect();
        let twins = (0..32).map(|at| PeerId(std::array::from_fn(|i| u8::from(i == at))));
        let ids: Vec<PeerId> = ids.into_iter().chain(twins).collect();
        for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (a, b))) {
            assert_eq!(a.cmp(b), a.0.cmp(&b.0));
        }
    }

    #[test]
    fn bytes_that_are_no_point_or_one_of_small_order_are_no_key() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
        assert_eq!(KeyId(key.to_bytes()).check(), Ok(()));
        let identity = {
            let mut one = [0; 32];
            one[0] = 1;
            one
        };
        // y = 0 is of order 4, y = -1 of order 2; no point has y = 2.
        let minus_one = {
            let mut bytes = [0xff; 32];
            bytes[0] = 0xec;
            bytes[31] = 0x7f;
            bytes
        };
        let two = {
            let mut two = [0; 32];
            two[0] = 2;
            two
        };
        for wrong in [[0; 32], identity, minus_one, two] {
            let error = KeyId(wrong).check().unwrap_err().to_string();
            assert!(error.ends_with("is no Ed25519 public key that can sign"), "{error}");
        }
    }

    #[test]
    fn a_wrong_identity_says_what_was_expected() {
        let error = "00ff".parse::<ContentHash>().unwrap_err();
        assert_eq!(error.to_string(), "expected 64 lower-case hexadecimal digits, got \"00ff\"");
        assert!("ZZ".repeat(32).parse::<ContentHash>().is_err());
    }
}
