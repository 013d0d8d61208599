//! The device's signed word about itself: made at transitions that matter, never twice the same.
//!
//! The site keeps one report of each device, so the last one said counts: of several releases that with the highest
//! number. The report that was kept over a restart says what need not be said again.

use super::Agent;
use super::fetch::Phase;
use crate::mesh::PublishError;
use crate::state::State;
use ed25519_dalek::SigningKey;
use samara_protocol::document::{DocumentError, Envelope, Release, ReleaseState, Report, one_line};
use samara_protocol::id::{DocumentId, PeerId, SiteId};
use samara_protocol::trust::Verified;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a reason: a report has room for little more.
const REASON_BYTES_MAX: usize = 200;

/// Makes reports with a counter that never goes back.
pub(super) struct Reporter {
    site: SiteId,
    device: PeerId,
    key: SigningKey,
    state: Arc<State>,
    /// The last word on each release.
    said: BTreeMap<DocumentId, (String, String)>,
    /// What was said before this start.
    kept: Option<Report>,
}

/// What is to be said of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    release: DocumentId,
    rollout: Option<DocumentId>,
    state: ReleaseState,
    reason: String,
    versions: BTreeMap<String, String>,
}

impl Word {
    /// Whether this was said. How often an install failed, or how many bytes a disk lacks, is no news.
    fn is(&self, state: &str, reason: &str) -> bool {
        let is_verdict = matches!(self.state, ReleaseState::NotApplicable | ReleaseState::Withdrawn);
        self.state.as_str() == state && (!is_verdict || self.reason == reason)
    }
}

impl Reporter {
    pub(super) fn new(site: SiteId, device: PeerId, secret: [u8; 32], state: Arc<State>) -> Self {
        let key = SigningKey::from_bytes(&secret);
        Self { site, device, key, state, said: BTreeMap::new(), kept: None }
    }

    /// A report of this device that was held at the start.
    pub(super) fn recall(&mut self, report: &Report) {
        self.kept = Some(report.clone());
    }

    /// Takes out what is no news. `words` are all there are.
    fn news(&mut self, mut words: Vec<Word>) -> Vec<Word> {
        self.said.retain(|release, _| words.iter().any(|word| word.release == *release));
        if let Some(kept) = self.kept.take()
            && words
                .iter()
                .any(|word| Some(word.release) == kept.release && word.is(&kept.state, &kept.reason))
        {
            words.iter().for_each(|word| self.mark(word));
        }
        words.retain(|word| {
            !self.said.get(&word.release).is_some_and(|(state, reason)| word.is(state, reason))
        });
        words
    }

    fn mark(&mut self, word: &Word) {
        self.said.insert(word.release, (word.state.to_string(), word.reason.clone()));
    }

    fn make(&self, word: &Word) -> Result<Vec<u8>, DocumentError> {
        let (boot, counter) = self.state.next_report();
        let mut report = Report {
            boot,
            counter,
            state: word.state.to_string(),
            reason: word.reason.clone(),
            release: Some(word.release),
            rollout: word.rollout,
            result_code: i64::from(word.state == ReleaseState::Failed),
            versions: word.versions.clone(),
            ..Report::empty(self.site, self.device)
        };
        let mut made = Envelope::unsigned(&report);
        if let Err(DocumentError::TooLarge { .. }) = made {
            report.versions.clear();
            made = Envelope::unsigned(&report);
        }
        let mut envelope = made?;
        envelope.sign(&self.key);
        Ok(envelope.to_bytes())
    }
}

impl Agent {
    /// Says where the releases stand, as far as that is news.
    pub(super) async fn report(&mut self) {
        let words = self.words();
        for word in self.reporter.news(words) {
            let envelope = match self.reporter.make(&word) {
                Ok(envelope) => envelope,
                Err(error) => {
                    tracing::error!(%error, "cannot make a report");
                    continue;
                }
            };
            // An open mesh lets devices in that nobody enrolled: their reports count nowhere, here neither.
            match self.parts.mesh.publish(envelope).await {
                Ok(_) | Err(PublishError::Refused(_)) => self.reporter.mark(&word),
                Err(error) => tracing::debug!(%error, "the report was not taken; it is made again"),
            }
        }
    }

    /// A word on every release that the site is told of; the one that counts most comes last.
    fn words(&self) -> Vec<Word> {
        let mut releases: Vec<_> = self.documents.releases.values().collect();
        releases.sort_by_key(|release| (release.number, release.id()));
        let there = releases.iter().filter(|release| self.is_there(&release.id()));
        let versions: BTreeMap<_, _> =
            there.map(|release| (release.product.clone(), release.version.clone())).collect();
        let word = |release: &&Verified<Release>| {
            let id = release.id();
            let standing = self.standing(&id).filter(|standing| standing.is_reported)?;
            let named = self.documents.rollouts.values().find(|rollout| rollout.release == id);
            let rollout = self.work.get(&id).map(|work| work.rollout).or(named.map(Verified::id));
            let reason = one_line(&standing.reason, REASON_BYTES_MAX);
            Some(Word { release: id, rollout, state: standing.state, reason, versions: versions.clone() })
        };
        releases.iter().filter_map(word).collect()
    }

    fn is_there(&self, id: &DocumentId) -> bool {
        self.work.get(id).is_some_and(|work| work.phase == Phase::Installed)
            || self.aside.get(id).is_some_and(|aside| aside.is_in_place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{SITE, key, public};
    use ReleaseState::{Downloading, Failed, Installed, NotApplicable, WaitingForSpace, Withdrawn};
    use samara_protocol::document::Document as _;

    fn word(release: u8, state: ReleaseState, reason: &str) -> Word {
        let release = DocumentId([release; 32]);
        Word { release, rollout: None, state, reason: reason.into(), versions: BTreeMap::new() }
    }

    fn reporter(dir: &tempfile::TempDir) -> Reporter {
        let state = Arc::new(State::open(&dir.path().join("state.redb")).unwrap());
        Reporter::new(SITE, PeerId(public(7)), key(7).to_bytes(), state)
    }

    /// What of these words is said, and from then on was said.
    fn say(reporter: &mut Reporter, words: &[Word]) -> Vec<Word> {
        let news = reporter.news(words.to_vec());
        news.iter().for_each(|word| reporter.mark(word));
        news
    }

    #[test]
    fn a_word_is_said_once_and_again_only_after_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut reporter = reporter(&dir);
        let mut is_said = |words: &[Word]| say(&mut reporter, words) == words;
        for (word, is_news) in [
            (word(1, Downloading, ""), true),
            (word(1, Downloading, ""), false),
            (word(1, WaitingForSpace, "7 bytes are missing"), true),
            (word(1, WaitingForSpace, "8 bytes are missing"), false),
            (word(1, Failed, "no (try 1)"), true),
            (word(1, Failed, "no (try 2)"), false),
            (word(1, Installed, ""), true),
            (word(1, Withdrawn, "it leaks; still installed"), true),
            (word(1, Withdrawn, "it leaks; still installed"), false),
            (word(1, Withdrawn, "it leaks"), true),
            (word(1, NotApplicable, "for a door"), true),
            (word(1, NotApplicable, "for a gate"), true),
        ] {
            assert_eq!(is_said(std::slice::from_ref(&word)), is_news, "{word:?}");
        }
        assert!(is_said(&[]) && is_said(&[word(1, NotApplicable, "for a gate")]), "it had gone");
    }

    #[test]
    fn each_release_has_its_own_word() {
        let dir = tempfile::tempdir().unwrap();
        let mut reporter = reporter(&dir);
        let (one, two) = (word(1, Installed, ""), word(2, NotApplicable, "for a door"));
        assert_eq!(say(&mut reporter, &[one.clone(), two.clone()]), [one.clone(), two.clone()]);
        let two = word(2, Downloading, "");
        assert_eq!(say(&mut reporter, &[one, two.clone()]), [two]);
    }

    #[test]
    fn what_was_said_before_a_restart_is_not_said_again_unless_it_is_no_longer_true() {
        let dir = tempfile::tempdir().unwrap();
        let mut reporter = reporter(&dir);
        let words = [word(1, Withdrawn, "it leaks; still installed"), word(2, Installed, "")];
        let (release, site) = (Some(words[1].release), Report::empty(SITE, PeerId(public(7))));
        let kept = |state: &str| Report { state: state.into(), release, ..site.clone() };
        reporter.recall(&kept("installed"));
        assert_eq!(say(&mut reporter, &words), []);
        reporter.said.clear();
        reporter.recall(&kept("downloading"));
        assert_eq!(say(&mut reporter, &words), words);
    }

    #[test]
    fn a_report_fits_however_long_its_words_and_those_of_others_are() {
        let dir = tempfile::tempdir().unwrap();
        let reporter = reporter(&dir);
        let reason = one_line(&"\u{1b}größe\n\"".repeat(200), REASON_BYTES_MAX);
        let versions = ["pump", "door"].map(|product| (product.repeat(60), "1".repeat(255)));
        let long = Word { versions: versions.into(), ..word(1, Failed, &reason) };
        let report = |word: &Word| {
            let envelope = Envelope::parse(&reporter.make(word).unwrap()).unwrap();
            envelope.unverified_payload::<Report>().unwrap()
        };
        let made = report(&long);
        assert_eq!((made.validate(), made.reason, made.versions), (Ok(()), reason, BTreeMap::new()));
        let versions = BTreeMap::from([("pump".to_owned(), "1".to_owned())]);
        let short = Word { versions: versions.clone(), ..long };
        assert_eq!(report(&short).versions, versions);
    }
}
