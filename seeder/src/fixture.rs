//! Site directories for tests, made by the verbs themselves.

use crate::keys::Passphrases;
use crate::signer::site_trust;
use crate::site::SiteDir;
use samara_protocol::document::{Envelope, TrustRoot};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Some device's id.
pub const DEVICE: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// Runs a verb that is to succeed.
pub fn ok(arguments: impl IntoIterator<Item = OsString>) {
    let code = crate::run(std::iter::once("samara".into()).chain(arguments));
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}

/// A new site in `dir`, with more arguments for `site init`.
pub fn site(dir: &Path, init: &[&str]) -> SiteDir {
    let path = dir.join("plant");
    let words =
        ["site", "init", "--name", "Plant", "--no-passphrase"].into_iter().chain(init.iter().copied());
    ok(words.map(Into::into).chain([path.clone().into_os_string()]));
    SiteDir::open(path).unwrap()
}

/// Publishes a release of one small file.
pub fn publish(site: &SiteDir) {
    let artifact = site.dir().join("artifact.bin");
    std::fs::write(&artifact, "artifact").unwrap();
    let words = ["publish", "--yes", "--site"].map(Into::into);
    ok(words.into_iter().chain([site.dir().into(), artifact.into_os_string()]));
}

/// The only document whose file name begins so.
pub fn document(site: &SiteDir, name: &str) -> PathBuf {
    let mut paths = site.document_files().unwrap();
    paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name));
    let [path] = paths.as_slice() else { panic!("{name}: {paths:?}") };
    path.clone()
}

/// Puts the next trust root into the directory: the newest one with a change, signed by the site's root key.
pub fn next_trust_root(site: &SiteDir, change: impl FnOnce(&mut TrustRoot)) -> PathBuf {
    let trust = site_trust(site).unwrap();
    let (version, previous) = (trust.root().version + 1, Some(trust.root().id()));
    let mut root = TrustRoot { version, previous, ..TrustRoot::clone(trust.root()) };
    change(&mut root);
    let mut envelope = Envelope::unsigned(&root).unwrap();
    envelope.sign(&Passphrases::default().load(&site.key_path("root")).unwrap());
    let path = site.dir().join(format!("documents/trust-root-{version}.json"));
    std::fs::write(&path, envelope.to_bytes()).unwrap();
    path
}
