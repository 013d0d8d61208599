//! The DSSE envelope: a payload as the bytes that were signed, its type, and signatures over both.
//!
//! Source: the Dead Simple Signing Envelope specification, version 1 (secure-systems-lab). The signature is Ed25519
//! over `PAE(type, payload) = "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload`.

use super::{Document, DocumentError, json, kinds};
use crate::id::{DocumentId, KeyId};
use crate::wire::DocumentKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

/// The largest envelope (rule D1); checked before a byte is parsed.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
/// The most signatures of one envelope.
pub const SIGNATURES_MAX: usize = 64;

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvelopeSignature {
    /// The signer's public key.
    pub key: KeyId,
    /// Ed25519 over the PAE.
    pub signature: [u8; 64],
}

/// A signed (or yet unsigned) document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Which kind and version of payload.
    pub payload_type: String,
    /// The bytes that are signed.
    pub payload: Vec<u8>,
    /// By whom.
    pub signatures: Vec<EnvelopeSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEnvelope {
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
struct WireSignature {
    keyid: KeyId,
    sig: String,
}

impl Envelope {
    /// An unsigned envelope with the canonical bytes of `document`: JSON, keys sorted, no blanks.
    pub fn unsigned<T: Document>(document: &T) -> Result<Self, DocumentError> {
        document.validate()?;
        let error = |e: serde_json::Error| DocumentError::Json(e.to_string());
        // A Value sorts its keys.
        let value = serde_json::to_value(document).map_err(error)?;
        let payload = serde_json::to_vec(&value).map_err(error)?;
        check_size::<T>(&payload)?;
        let envelope = Self { payload_type: T::PAYLOAD_TYPE.into(), payload, signatures: Vec::new() };
        Self::parse(&envelope.to_bytes())
    }

    /// Reads an envelope: size first, then JSON rules, of the envelope and of the payload.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(DocumentError::TooLarge { bytes: bytes.len(), max: ENVELOPE_BYTES_MAX });
        }
        json::check(bytes)?;
        let wrong = |e: &dyn std::fmt::Display| DocumentError::Envelope(e.to_string());
        let wire: WireEnvelope = serde_json::from_slice(bytes).map_err(|e| wrong(&e))?;
        if wire.signatures.len() > SIGNATURES_MAX {
            return Err(wrong(&format_args!("more than {SIGNATURES_MAX} signatures")));
        }
        let payload = STANDARD.decode(&wire.payload).map_err(|e| wrong(&e))?;
        json::check(&payload)?;
        let mut signatures = Vec::with_capacity(wire.signatures.len());
        for signature in wire.signatures {
            let bytes = STANDARD.decode(&signature.sig).map_err(|e| wrong(&e))?;
            let bytes = bytes.try_into().map_err(|_| wrong(&"a signature that is not 64 bytes long"))?;
            signatures.push(EnvelopeSignature { key: signature.keyid, signature: bytes });
        }
        Ok(Self { payload_type: wire.payload_type, payload, signatures })
    }

    /// The envelope as it travels and is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let signature =
            |s: &EnvelopeSignature| WireSignature { keyid: s.key, sig: STANDARD.encode(s.signature) };
        let wire = WireEnvelope {
            payload_type: self.payload_type.clone(),
            payload: STANDARD.encode(&self.payload),
            signatures: self.signatures.iter().map(signature).collect(),
        };
        // Strings and arrays of strings always have a JSON form.
        serde_json::to_vec(&wire).unwrap_or_default()
    }

    /// What is signed.
    pub fn pae(&self) -> Vec<u8> {
        let mut pae = format!("DSSEv1 {} {} ", self.payload_type.len(), self.payload_type).into_bytes();
        pae.extend_from_slice(format!("{} ", self.payload.len()).as_bytes());
        pae.extend_from_slice(&self.payload);
        pae
    }

    /// BLAKE3 of the PAE; signatures do not change it.
    pub fn id(&self) -> DocumentId {
        DocumentId(*blake3::hash(&self.pae()).as_bytes())
    }

    /// Which kind of document it says it is.
    pub fn kind(&self) -> Result<DocumentKind, DocumentError> {
        kinds::kind_of(&self.payload_type)
            .ok_or_else(|| DocumentError::UnknownType(self.payload_type.chars().take(80).collect()))
    }

    /// Adds this key's signature, in place of an earlier one of the same key.
    pub fn sign(&mut self, key: &SigningKey) {
        let signature = key.sign(&self.pae()).to_bytes();
        self.add_signature(EnvelopeSignature { key: KeyId(key.verifying_key().to_bytes()), signature });
    }

    /// Adds a signature made elsewhere (an agent, another person), in place of an earlier one of the same key.
    pub fn add_signature(&mut self, signature: EnvelopeSignature) {
        self.signatures.retain(|s| s.key != signature.key);
        self.signatures.push(signature);
    }

    /// What the payload says, believed or not: for `inspect`, for signing, and for trust itself.
    pub fn unverified_payload<T: Document>(&self) -> Result<T, DocumentError> {
        if self.payload_type != T::PAYLOAD_TYPE {
            let got = self.payload_type.chars().take(80).collect();
            return Err(DocumentError::WrongKind { wanted: T::PAYLOAD_TYPE, got });
        }
        check_size::<T>(&self.payload)?;
        let document: T = serde_json::from_slice(&self.payload)
            .map_err(|e| DocumentError::field("payload", e.to_string()))?;
        document.validate()?;
        Ok(document)
    }
}

fn check_size<T: Document>(payload: &[u8]) -> Result<(), DocumentError> {
    let (bytes, max) = (payload.len(), T::PAYLOAD_BYTES_MAX);
    if bytes > max { Err(DocumentError::TooLarge { bytes, max }) } else { Ok(()) }
}
