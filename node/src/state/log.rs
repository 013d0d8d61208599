//! The device's log of installs: a hash chain, so that nobody can take a line out or change one without its head
//! changing, which reports have named to the whole site.
//!
//! ```text
//! hash of line n = BLAKE3(hash of line n-1 ‖ bytes of line n)       before line 0: 32 zero bytes
//! ```
//! The last [`LINES_MAX`] lines are kept; the chain can be followed from the oldest of them on.

use super::{State, StateError, VALUES, unreadable};
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};
use samara_protocol::id::{ContentHash, DocumentId};
use samara_protocol::install::{Fault, State as Stands};
use serde::{Deserialize, Serialize};

/// Lines by number: the hash of the one before, then the line as JSON.
pub(super) const LOG: TableDefinition<u64, (&[u8; 32], &[u8])> = TableDefinition::new("log");
const HEAD: &str = "log";

/// Lines that are kept: of some hundreds of installs, in less than 2 MiB.
pub const LINES_MAX: u64 = 4096;

/// One transition, as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When, in seconds since 1970 by the device's clock.
    pub at: u64,
    /// Which start of the agent.
    pub boot: u64,
    /// Which release.
    pub release: DocumentId,
    /// For people: product and version.
    pub name: String,
    /// Where it stood.
    pub from: Stands,
    /// Where it stands.
    pub to: Stands,
    /// Installs begun so far.
    pub attempt: u32,
    /// What went wrong, where something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// How long what is told took, in milliseconds; 0 where nobody knows.
    #[serde(default)]
    pub took_ms: u64,
    /// Bytes written to the install root, at the end of an install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_written: Option<u64>,
}

/// A line and its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linked {
    /// Its number.
    pub n: u64,
    /// Hash of the line before.
    pub previous: ContentHash,
    /// Hash of this line.
    pub hash: ContentHash,
    /// The bytes that were hashed.
    pub text: String,
}

/// What is kept of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// The last lines, oldest first.
    pub lines: Vec<Linked>,
    /// Where it ends.
    pub head: LogHead,
}

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// Lines so far, those included that are kept no longer.
    pub len: u64,
    /// Hash of the last one.
    pub hash: ContentHash,
}

impl LogHead {
    const EMPTY: Self = Self { len: 0, hash: ContentHash([0; 32]) };
}

impl Linked {
    /// What it says.
    pub fn line(&self) -> Option<LogLine> {
        serde_json::from_str(&self.text).ok()
    }
}

impl Log {
    /// Whether every line follows from the one before, none is missing at the beginning that should still be kept, and the
    /// last one is the head, which reports have named.
    pub fn is_unbroken(&self) -> bool {
        let is_right = |line: &Linked| chained(&line.previous.0, line.text.as_bytes()) == line.hash.0;
        let first = self.head.len.saturating_sub(LINES_MAX);
        let begins = self
            .lines
            .first()
            .is_none_or(|line| line.n == first && (first > 0 || line.previous == LogHead::EMPTY.hash));
        let ends =
            self.lines.last().map_or(LogHead::EMPTY, |line| LogHead { len: line.n + 1, hash: line.hash });
        let follows = |pair: &[Linked]| pair[0].hash == pair[1].previous && pair[0].n + 1 == pair[1].n;
        begins && ends == self.head && self.lines.iter().all(is_right) && self.lines.windows(2).all(follows)
    }
}

fn chained(previous: &[u8; 32], line: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(previous).update(line);
    *hasher.finalize().as_bytes()
}

/// Adds lines at the end.
pub(super) fn append(transaction: &WriteTransaction, lines: &[LogLine]) -> Result<(), redb::Error> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut values = transaction.open_table(VALUES)?;
    let mut log = transaction.open_table(LOG)?;
    let LogHead { mut len, hash: ContentHash(mut hash) } =
        head_in(values.get(HEAD)?.map(|v| v.value().to_vec()))?;
    for line in lines {
        let text = serde_json::to_vec(line).map_err(unreadable)?;
        log.insert(len, (&hash, text.as_slice()))?;
        hash = chained(&hash, &text);
        len += 1;
        if let Some(old) = len.checked_sub(LINES_MAX + 1) {
            log.remove(old)?;
        }
    }
    let mut head = len.to_le_bytes().to_vec();
    head.extend(hash);
    values.insert(HEAD, head.as_slice())?;
    Ok(())
}

fn head_in(bytes: Option<Vec<u8>>) -> Result<LogHead, redb::Error> {
    let Some(bytes) = bytes else { return Ok(LogHead::EMPTY) };
    let damaged = || redb::Error::Corrupted("the head of the log cannot be read".into());
    let (len, hash) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    let hash = hash.try_into().map_err(|_| damaged())?;
    Ok(LogHead { len: u64::from_le_bytes(*len), hash: ContentHash(hash) })
}

impl State {
    /// The end of the log.
    pub fn log_head(&self) -> Result<LogHead, StateError> {
        self.read(|transaction| {
            head_in(transaction.open_table(VALUES)?.get(HEAD)?.map(|v| v.value().to_vec()))
        })
    }

    /// The lines that are kept, and the end of the chain.
    pub fn log(&self) -> Result<Log, StateError> {
        self.read(|transaction| {
            let head = head_in(transaction.open_table(VALUES)?.get(HEAD)?.map(|v| v.value().to_vec()))?;
            let table = transaction.open_table(LOG)?;
            let linked = table.iter()?.map(|entry| {
                let (n, line) = entry?;
                let (previous, text) = line.value();
                Ok(Linked {
                    n: n.value(),
                    previous: ContentHash(*previous),
                    hash: ContentHash(chained(previous, text)),
                    text: String::from_utf8_lossy(text).into_owned(),
                })
            });
            Ok(Log { lines: linked.collect::<Result<_, redb::Error>>()?, head })
        })
    }
}
