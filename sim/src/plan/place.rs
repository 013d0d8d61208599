//! Where in its text a plan says something: a fault that shows only when all is read has a line as well.

use toml::de::DeTable;

/// The line of `key` (`expect.max_rss_mib`, `devices.overrides[1].up`), or of the part of it that the text has.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut parts = key.split('.');
    let mut found = table.get_ref().get(parts.next()?)?;
    for part in parts {
        let (name, index) = match part.strip_suffix(']').and_then(|part| part.split_once('[')) {
            Some((name, index)) => (name, index.parse::<usize>().ok()),
            None => (part, None),
        };
        let Some(inner) = found.get_ref().get(name) else { break };
        found = index.and_then(|index| inner.get_ref().get(index)).unwrap_or(inner);
    }
    Some(text.get(..found.span().start)?.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_line_of_its_value_or_of_the_table_that_lacks_it() {
        let text = "timeout = 3\n[expect]\nmax_rss_mib = nan\n";
        assert_eq!(line_of(text, "timeout"), Some(1));
        assert_eq!(line_of(text, "expect.max_rss_mib"), Some(3));
        assert_eq!(line_of(text, "expect.max_time_ratio"), Some(2));
        assert_eq!(line_of(text, "devices.count"), None);
        let text = "[devices]\noverrides = [\n  { who = 1 },\n  { who = 2, up = 1 },\n]\n";
        assert_eq!(line_of(text, "devices.overrides[1].up"), Some(4));
        assert_eq!(line_of(text, "devices.overrides[7].up"), Some(2));
    }
}
