//! The repository's source files, and what of a file is code: no comments, no texts, no unit tests.

use std::fs;
use std::path::Path;

const CRATES: [&str; 5] = ["protocol", "node", "seeder", "sim", "benches"];

/// One file.
pub struct Source {
    /// From the repository's root, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
    /// It holds nothing but tests or benches.
    pub is_test: bool,
}

/// All Rust files of the workspace, in the order of their paths.
pub fn all(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    for name in CRATES {
        collect(root, &root.join(name), &mut sources);
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 20, "the sources are not where they should be");
    sources
}

fn collect(root: &Path, dir: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).expect("a folder of the workspace") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(root, &path, sources);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).expect("a source file");
            let path = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            let mut parts = path.split('/').skip(1);
            let is_test = parts.any(|part| matches!(part, "tests" | "tests.rs" | "benches" | "fuzz.rs"));
            sources.push(Source { path, text, is_test });
        }
    }
}

impl Source {
    /// Lines before the unit tests.
    pub fn lines_without_tests(&self) -> usize {
        before_tests(&self.text).lines().count()
    }

    /// Words of the `//!` with which the file begins.
    pub fn contract_words(&self) -> usize {
        let contract = self.text.lines().map_while(|line| line.strip_prefix("//!"));
        contract.map(|line| line.split_whitespace().count()).sum()
    }

    /// The file without comments, texts and unit tests; lines stay where they are.
    pub fn code(&self) -> String {
        code_of(before_tests(&self.text))
    }
}

/// Unit tests are last in a file.
fn before_tests(text: &str) -> &str {
    let is_start = |at: &usize| {
        let rest = text[*at..].trim_start_matches("#[cfg(test)]").trim_start();
        rest.starts_with("mod ") || rest.starts_with("#[")
    };
    let start = text.match_indices("#[cfg(test)]").map(|(at, _)| at).find(is_start);
    start.map_or(text, |start| &text[..start])
}

fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r\"") || rest.starts_with("r#") {
            raw_text_len(rest)
        } else if first == '"' {
            quoted_len(rest, '"')
        } else if rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'') && first == '\'' {
            quoted_len(rest, '\'')
        } else {
            0
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            rest = &rest[skipped..];
        }
    }
    code
}

fn quoted_len(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Zero for `r#name`, which is no text.
fn raw_text_len(text: &str) -> usize {
    let hashes = text[1..].bytes().take_while(|b| *b == b'#').count();
    let Some(body) = text[1 + hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    body.find(&end).map_or(text.len(), |at| 1 + hashes + 1 + at + end.len())
}

#[test]
fn comments_and_texts_are_no_code() {
    let text = "a // libp2p\nb \"redb \\\" x\" c 'd' '\\'' <'a> r#\"fs::\n\"# /* e\n */ f";
    assert_eq!(code_of(text), "a \nb  c   <'a> \n \n f");
}

#[test]
fn unit_tests_are_no_code_and_a_helper_for_them_does_not_hide_the_rest() {
    assert_eq!(before_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
    assert_eq!(before_tests("a\n#[cfg(test)]\nfn b() {}\nc"), "a\n#[cfg(test)]\nfn b() {}\nc");
}
