//! Fuzz targets as plain functions: they panic when an invariant of a decoder is broken.

use super::{Document, Enrollment, Envelope, Release, Report, Rollout, TrustRoot, Withdrawal};

/// Any bytes are an envelope or an error; an envelope survives being written and read, and keeps its id.
pub fn fuzz_envelope(data: &[u8]) {
    let Ok(envelope) = Envelope::parse(data) else { return };
    // Escapes may be longer than what was read: only then the limit on bytes may hit.
    if let Ok(again) = Envelope::parse(&envelope.to_bytes()) {
        assert_eq!(again.id(), envelope.id());
        assert_eq!(again, envelope);
    }
    fuzz_payload(&envelope.payload);
}

/// Any payload is a document of a kind or an error; a document survives its canonical spelling.
pub fn fuzz_payload(data: &[u8]) {
    respell::<TrustRoot>(data);
    respell::<Release>(data);
    respell::<Rollout>(data);
    respell::<Withdrawal>(data);
    respell::<Enrollment>(data);
    respell::<Report>(data);
}

fn respell<T: Document + PartialEq + std::fmt::Debug>(data: &[u8]) {
    let read =
        Envelope { payload_type: T::PAYLOAD_TYPE.into(), payload: data.to_vec(), signatures: Vec::new() };
    let Ok(document) = read.unverified_payload::<T>() else { return };
    // Not every valid payload passes the rules for JSON, which `parse` checks before.
    if let Ok(again) = Envelope::unsigned(&document) {
        assert_eq!(again.unverified_payload::<T>().as_ref(), Ok(&document));
    }
}
