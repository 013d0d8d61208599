//! Where in its text a plan says something: a fault that shows only when all is read has a line as well.

use toml::de::DeTable;

/// The line of `key` (`expect.max_rss_mib`), or of the part of it that the text has.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut parts = key.split('.');
    let mut found = table.get_ref().get(parts.next()?)?;
    for part in parts {
        match found.get_ref().get(part) {
            Some(inner) => found = inner,
            None => break,
        }
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
    }
}
