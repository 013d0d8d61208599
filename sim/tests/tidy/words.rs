//! Which file may not name what: the matrix "Who may know whom", as far as modules go.

use super::source::Source;

/// A rule: files below `within`, but not below `except`, never name one of `never`.
struct Rule {
    within: &'static str,
    except: &'static [&'static str],
    never: &'static [&'static str],
    because: &'static str,
}

const RULES: [Rule; 10] = [
    Rule {
        within: "protocol/src/",
        except: &[],
        never: &["Instant", "SystemTime", "UNIX_EPOCH"],
        because: "time is an argument",
    },
    Rule {
        within: "protocol/src/",
        except: &[],
        never: &["HashMap", "HashSet", "RandomState", "getrandom", "thread_rng", "OsRng"],
        because: "a seed replays a run; use BTreeMap, BTreeSet, Prng",
    },
    Rule {
        within: "protocol/src/",
        except: &[],
        never: &[
            "tokio",
            "futures",
            "libp2p",
            "iroh",
            "iroh_blobs",
            "redb",
            "async",
            "std::fs",
            "std::thread",
            "std::env",
            "std::process",
            "fs::",
            "thread::",
            "env::",
            "TcpStream",
            "TcpListener",
            "UdpSocket",
            "UnixStream",
            "UnixListener",
            "println!",
            "eprintln!",
        ],
        because: "what decides touches nothing of the world",
    },
    Rule {
        within: "protocol/src/trust/",
        except: &[],
        never: &["crate::swarm", "crate::rollout", "crate::mesh", "crate::neighbour", "crate::catalog"],
        because: "the trusted base stays readable alone",
    },
    Rule {
        within: "protocol/src/swarm/",
        except: &[],
        never: &["crate::document", "crate::trust", "crate::wire::codec", "Bytes", "bytes::"],
        because: "it schedules pieces of an already trusted geometry",
    },
    Rule {
        within: "protocol/src/rollout/",
        except: &[],
        never: &["crate::mesh", "crate::swarm", "crate::neighbour", "crate::wire"],
        because: "policy x facts x reports -> decision, without the network",
    },
    Rule {
        within: "node/src/",
        except: &["node/src/mesh/net"],
        never: &["libp2p", "libp2p_stream", "libp2p_identity"],
        because: "libp2p stays replaceable",
    },
    Rule {
        within: "node/src/",
        except: &["node/src/mesh/store", "node/src/state"],
        never: &["iroh", "iroh_blobs", "bao_tree", "redb"],
        because: "store formats stay private",
    },
    Rule {
        within: "seeder/src/",
        except: &[],
        never: &["samara_node::handler", "handler::", "libp2p", "iroh", "iroh_blobs", "redb"],
        because: "the operator's tool installs nothing, and reaches the network through the node's mesh",
    },
    Rule {
        within: "sim/src/",
        except: &["sim/src/lab", "sim/src/calibrate", "sim/src/simulate.rs"],
        never: &["tokio", "libp2p", "Instant", "SystemTime", "thread::", "HashMap", "HashSet"],
        because: "same seed, same trace",
    },
];

/// One sentence for each word that must not be there.
pub fn broken(source: &Source) -> Vec<String> {
    let is_below = |prefix: &str| source.path.starts_with(prefix);
    let rules = RULES.iter().filter(|r| is_below(r.within) && !r.except.iter().any(|e| is_below(e)));
    let rules: Vec<&Rule> = rules.collect();
    if rules.is_empty() || source.is_test {
        return Vec::new();
    }
    let code = source.code();
    let mut broken = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for rule in &rules {
            let named = rule.never.iter().filter(|word| names(line, word));
            broken.extend(
                named.map(|word| {
                    format!("{}:{}: names `{word}`, but {}", source.path, number + 1, rule.because)
                }),
            );
        }
    }
    broken
}

/// Whether `word` stands in `line` as a whole: no letter, digit or underscore touches it.
fn names(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let ends_open = word.ends_with(':') || word.ends_with('!');
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !is_part(line[..at].chars().next_back()) && (ends_open || !is_part(after))
    })
}

#[test]
fn a_word_is_found_as_a_whole_only() {
    assert!(names("use std::time::Instant;", "Instant"));
    assert!(names("let x = fs::read(p);", "fs::"));
    assert!(!names("InstantReport", "Instant"));
    assert!(!names("offs::x", "fs::"));
}

#[test]
fn a_forbidden_word_in_code_is_named_with_its_line_and_the_reason() {
    let text =
        "//! Uses no HashMap.\nuse std::collections::HashMap;\n#[cfg(test)]\nmod tests { use x::HashSet; }\n";
    let source = Source { path: "protocol/src/x.rs".into(), text: text.into(), is_test: false };
    let broken = broken(&source);
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(broken[0].starts_with("protocol/src/x.rs:2: names `HashMap`"), "{broken:?}");
}

#[test]
fn an_exception_holds_for_its_folder_only() {
    let source = |path: &str| Source { path: path.into(), text: "use libp2p::Swarm;".into(), is_test: false };
    assert_eq!(broken(&source("node/src/mesh/net/swarm.rs")).len(), 0);
    assert_eq!(broken(&source("node/src/mesh/driver.rs")).len(), 1);
}
