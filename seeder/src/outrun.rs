//! Documents of the mesh that are newer than the site directory knows: it is an older copy (a restored backup), or another
//! laptop signs for the site, too.
//!
//! What would be signed with the directory's numbers, devices that saw the newer ones would refuse as a replay. So the
//! numbers are kept in `sequences.json`, and the next trust root, without which nobody can sign the one after it, in
//! `documents/`. Nothing else is taken over: the bytes and the purpose of other documents are not known here.

use crate::failure::Failure;
use crate::site::{Raised, Sequences, SiteDir, payload};
use samara_protocol::document::TrustRoot;
use samara_protocol::trust::{DocumentKey, Verified, VerifiedDocument};
use serde_json::json;
use std::collections::BTreeMap;

/// Documents that may be newer; those of one key (T9) replace each other.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<DocumentKey, VerifiedDocument>);

/// What outruns the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outrun {
    documents: Vec<Raised>,
    /// Why the numbers could not be kept, if they could not.
    pub unsaved: Option<String>,
}

impl Seen {
    /// Takes a document that the mesh holds.
    pub fn add(&mut self, document: VerifiedDocument) {
        match document {
            VerifiedDocument::TrustRoot(_)
            | VerifiedDocument::Release(_)
            | VerifiedDocument::Rollout(_)
            | VerifiedDocument::Enrollment(_) => {
                self.0.insert(document.key(), document);
            }
            // Nobody numbers them here.
            VerifiedDocument::Withdrawal(_) | VerifiedDocument::Report(_) => {}
        }
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds those of `other`, unless newer ones came meanwhile.
    pub fn put_back(&mut self, other: Self) {
        for (key, document) in other.0 {
            self.0.entry(key).or_insert(document);
        }
    }

    /// Compares with the directory, and keeps there what outruns it.
    pub fn settle(&self, site: &SiteDir) -> Result<Option<Outrun>, Failure> {
        let documents = self.raise(&mut site.numbers()?);
        let root_here = newest_root(site)?;
        let roots = self.newer_roots(root_here);
        let of_roots = roots.iter().map(|root| Raised {
            kind: "trust_root",
            of: root.site.to_string(),
            here: root_here,
            site: root.version,
        });
        let documents: Vec<_> = of_roots.chain(documents).collect();
        if documents.is_empty() {
            return Ok(None);
        }
        let unsaved = self.keep(site).err().map(|failure| failure.to_string());
        Ok(Some(Outrun { documents, unsaved }))
    }

    fn keep(&self, site: &SiteDir) -> Result<(), Failure> {
        let mut writer = site.writer()?;
        self.raise(&mut writer.sequences);
        writer.save_sequences()?;
        // Another process may have written since.
        for root in self.newer_roots(newest_root(site)?) {
            writer.put_document(&root_name(root.version), root.envelope())?;
        }
        Ok(())
    }

    fn raise(&self, numbers: &mut Sequences) -> Vec<Raised> {
        let mut counters: BTreeMap<_, Raised> = BTreeMap::new();
        for raised in self.0.values().filter_map(|document| numbers.raise_to(document.envelope())) {
            let counter = counters.entry((raised.kind, raised.of.clone())).or_insert_with(|| raised.clone());
            counter.site = raised.site;
        }
        counters.into_values().collect()
    }

    // Those that go on where the directory's end, in their order.
    fn newer_roots(&self, here: u64) -> Vec<&Verified<TrustRoot>> {
        let roots = self.0.values().filter_map(|document| match document {
            VerifiedDocument::TrustRoot(root) if root.version > here => Some(root),
            _ => None,
        });
        let mut roots: Vec<_> = roots.collect();
        roots.sort_by_key(|root| root.version);
        roots
    }
}

impl Outrun {
    /// For people: what it is and what to do.
    pub fn text(&self) -> String {
        let what = few(self.documents.iter().map(ToString::to_string));
        let kept = match &self.unsaved {
            None => "What is signed here from now on has higher numbers".to_owned(),
            Some(why) => {
                format!("Its numbers could not be kept here yet ({why}): sign nothing until they are")
            }
        };
        format!(
            "the site knows newer documents than this directory: {what}. It is an older copy, or another laptop signs \
             for the site, too: bring the newest copy here if there is one. {kept}"
        )
    }

    /// For programs; the fields of the event `outrun`.
    pub fn event(&self) -> serde_json::Value {
        json!({
            "event": "outrun", "documents": self.documents, "saved": self.unsaved.is_none(),
            "reason": self.unsaved,
        })
    }
}

/// The file of a later version of the trust root.
pub fn root_name(version: u64) -> String {
    format!("trust-root-{version}")
}

/// A list for people: the first of it.
pub fn few(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<_> = items.into_iter().collect();
    let (first, more) = items.split_at(items.len().min(FEW));
    let first = first.join(", ");
    if more.is_empty() { first } else { format!("{first} and {} more", more.len()) }
}

const FEW: usize = 4;

fn newest_root(site: &SiteDir) -> Result<u64, Failure> {
    let documents = site.documents()?;
    let versions = documents.iter().filter_map(|bytes| payload::<TrustRoot>(bytes)).map(|root| root.version);
    Ok(versions.max().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::signer::site_trust;
    use std::path::Path;

    /// A site with two releases and a second trust root, all of them seen, and its directory before the second ones.
    fn older_copy(dir: &Path) -> (Seen, SiteDir) {
        let site = fixture::site(dir, &[]);
        fixture::publish(&site);
        let copy = dir.join("copy");
        let copied = std::process::Command::new("cp").arg("-r").arg(site.dir()).arg(&copy).status();
        assert!(copied.unwrap().success());
        fixture::next_trust_root(&site, |root| root.revoked_devices = vec![fixture::DEVICE.parse().unwrap()]);
        fixture::publish(&site);
        let trust = site_trust(&site).unwrap();
        let mut seen = Seen::default();
        for envelope in site.documents().unwrap() {
            seen.add(trust.check(&envelope).unwrap());
        }
        assert_eq!(seen.settle(&site).unwrap(), None);
        (seen, SiteDir::open(copy).unwrap())
    }

    #[test]
    fn what_outruns_the_directory_is_kept_there_and_outruns_it_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let (seen, site) = older_copy(dir.path());
        let outrun = seen.settle(&site).unwrap().unwrap();
        let text = outrun.text();
        for part in ["trust root version 2 (here 1)", "release 2 of default on stable", "higher numbers"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(outrun.event()["documents"].as_array().unwrap().len(), 3);
        assert_eq!(site.numbers().unwrap().last_release("Plant", "default", "stable"), 2);
        assert_eq!(site_trust(&site).unwrap().root().version, 2);
        assert_eq!(seen.settle(&site).unwrap(), None);
    }

    #[test]
    fn that_the_numbers_could_not_be_kept_is_said_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (seen, site) = older_copy(dir.path());
        let writer = site.writer().unwrap();
        let outrun = seen.settle(&site).unwrap().unwrap();
        assert!(outrun.text().contains("sign nothing until they are"), "{}", outrun.text());
        assert_eq!(outrun.event()["saved"], false);
        drop(writer);
        assert_eq!(seen.settle(&site).unwrap().unwrap().event()["saved"], true);
    }

    #[test]
    fn a_long_list_is_cut_and_says_how_much_is_left_out() {
        let list = |count: u32| few((0..count).map(|number| number.to_string()));
        assert_eq!((list(4), list(6)), ("0, 1, 2, 3".into(), "0, 1, 2, 3 and 2 more".into()));
    }
}
