//! The device's signed word about itself: made at transitions that matter, never twice the same.
//!
//! The site keeps one report of each device, so the last one said counts: it is of the release whose state the site must
//! know most ([`ReleaseState::weight`]), of equal ones of the highest number, and is said once more after any other. What
//! there is to say of the others stands in each, as far as there is room. The report that was kept over a restart says
//! what need not be said again.

use super::Agent;
use super::standing::{Standing, Wrong};
use super::work::Work;
use crate::mesh::PublishError;
use crate::state::State;
use ed25519_dalek::SigningKey;
use samara_protocol::document::{
    DocumentError, Envelope, Release, ReleaseState, ReleaseWord, Report, one_line,
};
use samara_protocol::id::{DocumentId, PeerId, SiteId};
use samara_protocol::rollout::named_by;
use samara_protocol::trust::Verified;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a reason: a report has room for little more.
const REASON_BYTES_MAX: usize = 200;
/// Bytes of a reason beside the one that the report is about.
const OTHER_REASON_BYTES_MAX: usize = 100;
/// Other releases that a report tries to find room for: more than have any.
const OTHERS_MAX: usize = 8;

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
    /// What was said last: what the site has of this device.
    last: Option<(DocumentId, String)>,
}

/// What is to be said of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    release: DocumentId,
    rollout: Option<DocumentId>,
    state: ReleaseState,
    reason: String,
    wrong: Option<Wrong>,
    written_percent: u64,
    versions: BTreeMap<String, String>,
}

impl Word {
    /// Whether this was said. How often an install failed, or how many bytes a disk lacks, is no news.
    fn is(&self, state: &str, reason: &str) -> bool {
        let is_verdict = matches!(
            self.state,
            ReleaseState::NotApplicable | ReleaseState::Withdrawn | ReleaseState::Rejected
        );
        self.state.as_str() == state && (!is_verdict || self.reason == reason)
    }

    /// How the program ended that failed; 1 where something else went wrong, 0 where nothing did.
    fn result_code(&self) -> i64 {
        use ReleaseState::{Failed, Inconsistent, RolledBack, RollingBack};
        let is_wrong = matches!(self.state, Failed | Inconsistent | RolledBack | RollingBack);
        match &self.wrong {
            Some(Wrong { exit: Some(exit), .. }) => i64::from(*exit),
            _ => i64::from(is_wrong),
        }
    }

    /// Whether a report said it, in full or in a word.
    fn is_in(&self, report: &Report) -> bool {
        let others =
            || report.others.get(&self.release).is_some_and(|word| word.state == self.state.as_str());
        if report.release == Some(self.release) { self.is(&report.state, &report.reason) } else { others() }
    }
}

impl Reporter {
    pub(super) fn new(site: SiteId, device: PeerId, secret: [u8; 32], state: Arc<State>) -> Self {
        let key = SigningKey::from_bytes(&secret);
        Self { site, device, key, state, said: BTreeMap::new(), kept: None, last: None }
    }

    /// A report of this device that was held at the start.
    pub(super) fn recall(&mut self, report: &Report) {
        self.kept = Some(report.clone());
    }

    /// What is to be said now. `words` are all there are, that which counts most last: it comes after all news.
    fn news(&mut self, words: &[Word]) -> Vec<Word> {
        self.said.retain(|release, _| words.iter().any(|word| word.release == *release));
        if let Some(kept) = self.kept.take() {
            words.iter().filter(|word| word.is_in(&kept)).for_each(|word| self.mark(word));
            self.last = kept.release.map(|release| (release, kept.state));
        }
        let is_news = |word: &&Word| {
            !self.said.get(&word.release).is_some_and(|(state, reason)| word.is(state, reason))
        };
        let mut news: Vec<Word> = words.iter().filter(is_news).cloned().collect();
        // What was said last may have ended without a word, as a release whose rollout was aborted does.
        let is_last = |word: &Word| {
            self.last.as_ref().is_some_and(|(release, state)| {
                (*release, state.as_str()) == (word.release, word.state.as_str())
            })
        };
        let is_stale = news.is_empty() && words.last().is_some_and(|word| !is_last(word));
        if is_stale || (!news.is_empty() && news.last() != words.last()) {
            news.extend(words.last().cloned());
        }
        news
    }

    fn mark(&mut self, word: &Word) {
        let state = word.state.to_string();
        self.last = Some((word.release, state.clone()));
        self.said.insert(word.release, (state, word.reason.clone()));
    }

    /// The report of one of `words`; the others go with it as far as there is room, those that count most first.
    fn make(&self, word: &Word, words: &[Word]) -> Result<Vec<u8>, DocumentError> {
        let (boot, counter) = self.state.next_report();
        let head = self.state.log_head().ok().filter(|head| head.len > 0);
        let others = words.iter().rev().filter(|other| other.release != word.release).take(OTHERS_MAX);
        let mut others: Vec<_> = others
            .map(|Word { release, state, reason, .. }| {
                let reason = one_line(reason, OTHER_REASON_BYTES_MAX);
                (*release, ReleaseWord { state: state.to_string(), reason })
            })
            .collect();
        let mut report = Report {
            boot,
            counter,
            state: word.state.to_string(),
            reason: word.reason.clone(),
            release: Some(word.release),
            rollout: word.rollout,
            result_code: word.result_code(),
            phase: word.wrong.as_ref().map(|wrong| wrong.phase.clone()).unwrap_or_default(),
            fault: word.wrong.as_ref().map(|wrong| wrong.code.clone()).unwrap_or_default(),
            written_percent: word.written_percent,
            log_head: head.map(|head| head.hash),
            log_len: head.map_or(0, |head| head.len),
            versions: word.versions.clone(),
            ..Report::empty(self.site, self.device)
        };
        loop {
            report.others = others.iter().cloned().collect();
            match Envelope::unsigned(&report) {
                Err(DocumentError::TooLarge { .. }) if shorten(&mut others) => {}
                Err(DocumentError::TooLarge { .. }) if !report.versions.is_empty() => report.versions.clear(),
                Err(DocumentError::TooLarge { .. }) if report.log_head.take().is_some() => {}
                made => {
                    let mut envelope = made?;
                    envelope.sign(&self.key);
                    return Ok(envelope.to_bytes());
                }
            }
        }
    }
}

/// Leaves out what counts least: reasons first, then releases; false when nothing is left.
fn shorten(others: &mut Vec<(DocumentId, ReleaseWord)>) -> bool {
    match others.iter_mut().rev().find(|(_, word)| !word.reason.is_empty()) {
        Some((_, word)) => word.reason.clear(),
        None => return others.pop().is_some(),
    }
    true
}

impl Agent {
    /// Says where the releases stand, as far as that is news.
    pub(super) async fn report(&mut self) {
        let words = self.words();
        for word in self.reporter.news(&words) {
            let envelope = match self.reporter.make(&word, &words) {
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
        releases.sort_by_cached_key(|release| (self.weight(release), release.number, release.id()));
        let there = releases.iter().filter(|release| self.is_there(&release.id()));
        let versions: BTreeMap<_, _> =
            there.map(|release| (release.product.clone(), release.version.clone())).collect();
        let word = |release: &&Verified<Release>| {
            let id = release.id();
            let standing = self.standing(&id).filter(|standing| standing.is_reported)?;
            let named = self.documents.rollouts.values().find(|rollout| named_by(rollout) == id);
            let rollout = self.work.get(&id).map(|work| work.rollout).or(named.map(Verified::id));
            let reason = one_line(&standing.reason, REASON_BYTES_MAX);
            let Standing { state, wrong, .. } = standing;
            let written_percent = self.work.get(&id).map_or(0, Work::written_percent);
            Some(Word {
                release: id,
                rollout,
                state,
                reason,
                wrong,
                written_percent,
                versions: versions.clone(),
            })
        };
        releases.iter().filter_map(word).collect()
    }

    /// That a device cannot take the successor of what it has is more than that it has it.
    pub(super) fn weight(&self, release: &Verified<Release>) -> (u8, bool) {
        let state = self.standing(&release.id()).map_or(ReleaseState::Superseded, |standing| standing.state);
        let is_predecessor =
            |other: &&Verified<Release>| release.is_later_than(other) && self.is_there(&other.id());
        match state {
            ReleaseState::NotApplicable if self.documents.releases.values().any(|r| is_predecessor(&r)) => {
                (ReleaseState::Installed.weight(), true)
            }
            state => (state.weight(), false),
        }
    }

    pub(super) fn is_there(&self, id: &DocumentId) -> bool {
        self.work.get(id).is_some_and(|work| work.state().is_in_place())
            || self.aside.get(id).is_some_and(|aside| aside.is_in_place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{SITE, key, public};
    use ReleaseState::{Downloading, Failed, Installed, NotApplicable, WaitingForSpace, Withdrawn};
    use samara_protocol::document::Document as _;

    impl Agent {
        /// What the site knows last.
        pub(in crate::agent) fn last_word(&self) -> Option<(DocumentId, ReleaseState)> {
            self.words().last().map(|word| (word.release, word.state))
        }
    }

    fn word(release: u8, state: ReleaseState, reason: &str) -> Word {
        let release = DocumentId([release; 32]);
        Word {
            release,
            rollout: None,
            state,
            reason: reason.into(),
            wrong: None,
            written_percent: 0,
            versions: BTreeMap::new(),
        }
    }

    fn reporter(dir: &tempfile::TempDir) -> Reporter {
        let state = Arc::new(State::open(&dir.path().join("state.redb")).unwrap());
        Reporter::new(SITE, PeerId(public(7)), key(7).to_bytes(), state)
    }

    /// What of these words is said, and from then on was said.
    fn say(reporter: &mut Reporter, words: &[Word]) -> Vec<Word> {
        let news = reporter.news(words);
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
    fn the_word_that_counts_most_is_said_again_after_news_of_another_release() {
        let dir = tempfile::tempdir().unwrap();
        let mut reporter = reporter(&dir);
        let (door, pump) = (word(9, NotApplicable, "for a door"), word(1, Installed, ""));
        assert_eq!(say(&mut reporter, std::slice::from_ref(&pump)), std::slice::from_ref(&pump));
        let both = [door.clone(), pump.clone()];
        assert_eq!(say(&mut reporter, &both), both);
        assert_eq!(say(&mut reporter, &both), []);
        let report = |word| report_of(&reporter.make(word, &both).unwrap());
        let word = |state: &str, reason: &str| ReleaseWord { state: state.into(), reason: reason.into() };
        assert_eq!(report(&pump).others, [(door.release, word("not_applicable", "for a door"))].into());
        assert_eq!(report(&door).others, [(pump.release, word("installed", ""))].into());
    }

    /// A rollout was aborted while its release was tested: the site read "testing" for ever.
    #[test]
    fn what_was_said_last_is_replaced_when_it_ends_without_a_word() {
        let dir = tempfile::tempdir().unwrap();
        let mut reporter = reporter(&dir);
        let (old, next) = (word(1, Installed, ""), word(2, Downloading, ""));
        say(&mut reporter, std::slice::from_ref(&old));
        assert_eq!(say(&mut reporter, &[old.clone(), next.clone()]), [next]);
        assert_eq!(say(&mut reporter, std::slice::from_ref(&old)), std::slice::from_ref(&old));
        assert_eq!(say(&mut reporter, std::slice::from_ref(&old)), []);
    }

    #[test]
    fn what_a_device_needs_help_with_counts_most_and_what_is_not_for_it_least() {
        let mut states = ReleaseState::ALL;
        states.sort_by_key(|state| state.weight());
        let words = states.map(ReleaseState::as_str).join(" ");
        assert_eq!(
            words,
            "waiting aborted superseded not_applicable installed withdrawn downloading installing testing rolling_back rejected waiting_for_space failed rolled_back inconsistent"
        );
    }

    fn report_of(envelope: &[u8]) -> Report {
        Envelope::parse(envelope).unwrap().unverified_payload().unwrap()
    }

    #[test]
    fn what_was_said_before_a_restart_is_not_said_again_unless_it_is_no_longer_true() {
        let dir = tempfile::tempdir().unwrap();
        let mut reporter = reporter(&dir);
        let words = [word(1, Installed, ""), word(2, Withdrawn, "it leaks; still installed")];
        let kept = report_of(&reporter.make(&words[1], &words).unwrap());
        let mut say_after = |kept: &Report| {
            reporter.said.clear();
            reporter.recall(kept);
            say(&mut reporter, &words)
        };
        assert_eq!(say_after(&kept), []);
        assert_eq!(say_after(&Report { reason: "it leaks".into(), ..kept.clone() }), words[1..]);
        assert_eq!(say_after(&Report { others: BTreeMap::new(), ..kept.clone() }), words);
        let downloading = ReleaseWord { state: "downloading".into(), reason: String::new() };
        let others = [(words[0].release, downloading)].into();
        assert_eq!(say_after(&Report { others, ..kept }), words);
    }

    #[test]
    fn a_report_fits_however_long_its_words_and_those_of_others_are() {
        let dir = tempfile::tempdir().unwrap();
        let reporter = reporter(&dir);
        let reason = one_line(&"\u{1b}größe\n\"".repeat(200), REASON_BYTES_MAX);
        let versions = ["pump", "door"].map(|product| (product.repeat(60), "1".repeat(255)));
        let wrong = Wrong { phase: "rolling_back".into(), code: "artifact".into(), exit: Some(-15) };
        let long = Word { versions: versions.into(), wrong: Some(wrong), ..word(1, Failed, &reason) };
        let report = |word: &Word, words: &[Word]| report_of(&reporter.make(word, words).unwrap());
        let others: Vec<_> = (2..20).map(|n| word(n, NotApplicable, "for a door")).collect();
        let made = report(&long, &others);
        assert_eq!((made.validate(), made.reason, made.versions), (Ok(()), reason, BTreeMap::new()));
        let versions = BTreeMap::from([("pump".to_owned(), "1".to_owned())]);
        let short = Word { versions: versions.clone(), ..long };
        assert_eq!(report(&short, &others).versions, versions);
        // The last of them count most.
        let made = report(&word(1, Installed, ""), &others);
        let named: Vec<u8> = made.others.keys().map(|id| id.0[0]).collect();
        assert!(named.len() > 3 && named == (20 - named.len() as u8..20).collect::<Vec<_>>(), "{named:?}");
    }
}
