//! Which package may depend on which: the matrix "Who may know whom", as far as packages go.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::BTreeSet;
use std::path::Path;

/// A package, and the packages of this workspace that it may use.
const WORKSPACE: [(&str, &[&str]); 5] = [
    ("samara-protocol", &[]),
    ("samara-node", &["samara-protocol"]),
    ("samara-seeder", &["samara-protocol", "samara-node"]),
    ("samara-sim", &["samara-protocol"]),
    ("samara-benches", &["samara-protocol", "samara-node", "samara-seeder", "samara-sim"]),
];

/// What `protocol` must not reach, not even through others: one behaviour in daemon, simulator, fuzzer and bench.
/// A name that ends in `-` stands for all that begin so.
const PROTOCOL_NEVER: [&str; 9] =
    ["tokio", "tokio-", "futures", "futures-", "libp2p", "libp2p-", "iroh", "iroh-", "redb"];

/// What must not be a direct dependency, and why.
const DIRECT_NEVER: [(&str, &[&str], &str); 2] = [
    ("samara-protocol", &["getrandom", "rand", "fastrand"], "a seed replays a run"),
    ("samara-sim", &["tokio", "libp2p", "iroh-blobs", "redb", "futures"], "same seed, same trace"),
];

/// Dependencies of other systems only are not looked at, so that nothing has to be downloaded for them.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// One sentence for each edge that must not be.
pub fn broken(manifest: &Path) -> Vec<String> {
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(vec!["--filter-platform".into(), PLATFORM.into()])
        .exec()
        .expect("cargo metadata");
    let mut broken = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let direct = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
        let direct: Vec<&str> = direct.map(|d| d.name.as_str()).collect();
        let allowed = WORKSPACE.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, allowed)| allowed);
        for other in direct.iter().filter(|d| d.starts_with("samara-") && !allowed.contains(d)) {
            broken.push(format!("{name} must not depend on {other}"));
        }
        for (_, never, why) in DIRECT_NEVER.iter().filter(|(of, _, _)| *of == name) {
            let wrong = direct.iter().filter(|d| never.contains(d));
            broken.extend(wrong.map(|other| format!("{name} must not depend on {other}: {why}")));
        }
    }
    let reached = reachable(&metadata, "samara-protocol");
    let wrong = reached.iter().filter(|name| PROTOCOL_NEVER.iter().any(|never| is_named(name, never)));
    broken.extend(wrong.map(|name| format!("samara-protocol reaches {name} through its dependencies")));
    broken
}

fn is_named(name: &str, pattern: &str) -> bool {
    if pattern.ends_with('-') { name.starts_with(pattern) } else { name == pattern }
}

/// Names of all packages that `from` needs to be built into a program.
fn reachable(metadata: &Metadata, from: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let start =
        metadata.workspace_packages().into_iter().find(|p| p.name.as_str() == from).expect("the package");
    let mut seen = BTreeSet::new();
    let mut open = vec![start.id.clone()];
    while let Some(id) = open.pop() {
        let Some(node) = resolve.nodes.iter().find(|node| node.id == id) else { continue };
        for dependency in &node.deps {
            let is_normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if is_normal && seen.insert(dependency.pkg.clone()) {
                open.push(dependency.pkg.clone());
            }
        }
    }
    let names = metadata.packages.iter().filter(|package| seen.contains(&package.id));
    names.map(|package| package.name.to_string()).collect()
}

#[test]
fn a_pattern_with_a_dash_stands_for_a_family() {
    assert!(is_named("libp2p-core", "libp2p-") && is_named("libp2p", "libp2p"));
    assert!(!is_named("redbird", "redb"));
}
