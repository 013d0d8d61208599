//! Keys that an ssh-agent holds: it lists them, and signs what it is given; secrets stay with it, or with the hardware
//! behind it.
//!
//! Ed25519 as OpenSSH has it (`ssh-ed25519`) is the signature that documents carry. What a FIDO key makes
//! (`sk-ssh-ed25519`) covers more than the document and is of no use here.

use ed25519_dalek::{Signature, VerifyingKey};
use samara_protocol::document::EnvelopeSignature;
use samara_protocol::id::KeyId;
use ssh_agent_client_rs::{Client, Identity};
use ssh_key::PublicKey;
use ssh_key::public::KeyData;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The environment variable that names an agent's socket.
pub const AGENT_SOCKET: &str = "SSH_AUTH_SOCK";

/// Why an agent does not sign.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The environment names none.
    #[error("no ssh-agent is named by {AGENT_SOCKET}")]
    None,
    /// It does not answer, or not as an agent does.
    #[error("the ssh-agent at {} cannot be asked: {why}", path.display())]
    Unusable {
        /// Its socket.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// It holds the key and does not sign with it.
    #[error("the ssh-agent at {} did not sign with {key}: {why}", path.display())]
    Refused {
        /// Its socket.
        path: PathBuf,
        /// The key.
        key: KeyId,
        /// What happened.
        why: String,
    },
}

/// An agent that answered, and the keys that it holds.
pub struct KeyAgent {
    client: Client,
    path: PathBuf,
    held: BTreeMap<KeyId, PublicKey>,
}

impl KeyAgent {
    /// Asks the agent that the environment names what it holds.
    pub fn open() -> Result<Self, AgentError> {
        let path = std::env::var_os(AGENT_SOCKET).filter(|path| !path.is_empty()).map(PathBuf::from);
        let path = path.ok_or(AgentError::None)?;
        let unusable =
            |e: ssh_agent_client_rs::Error| AgentError::Unusable { path: path.clone(), why: reason(e) };
        let mut client = Client::connect(&path).map_err(unusable)?;
        let identities = client.list_all_identities().map_err(unusable)?;
        let held = identities.into_iter().filter_map(|identity| match identity {
            Identity::PublicKey(key) => Some((key_id(&key)?, key.into_owned())),
            Identity::Certificate(_) => None,
        });
        let held = held.collect();
        Ok(Self { client, path, held })
    }

    /// Where it is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Whether it can sign with a key.
    pub fn holds(&self, key: KeyId) -> bool {
        self.held.contains_key(&key)
    }

    /// Has it sign; it may ask its owner first, or wait for a touch.
    pub fn sign(&mut self, key: KeyId, message: &[u8]) -> Result<EnvelopeSignature, AgentError> {
        let refused = |why: String| AgentError::Refused { path: self.path.clone(), key, why };
        let public = self.held.get(&key).ok_or_else(|| refused("it does not hold it".into()))?;
        let made = self.client.sign(public, message).map_err(|e| refused(reason(e)))?;
        let wrong = || refused("its answer is no Ed25519 signature of the document".into());
        let signature: [u8; 64] = made.as_bytes().try_into().map_err(|_| wrong())?;
        let is_right = VerifyingKey::from_bytes(&key.0)
            .is_ok_and(|public| public.verify_strict(message, &Signature::from_bytes(&signature)).is_ok());
        if is_right { Ok(EnvelopeSignature { key, signature }) } else { Err(wrong()) }
    }
}

/// The id of an Ed25519 key; other keys have none.
pub fn key_id(key: &PublicKey) -> Option<KeyId> {
    match key.key_data() {
        KeyData::Ed25519(key) => Some(KeyId(key.0)),
        _ => None,
    }
}

fn reason(error: ssh_agent_client_rs::Error) -> String {
    match error {
        ssh_agent_client_rs::Error::AgentCommunicationError(cause) => cause.to_string(),
        ssh_agent_client_rs::Error::RemoteFailure => "it refused".to_owned(),
        other => other.to_string(),
    }
}
