//! Two configurations become one: what comes wins, all else of what is there stays, comments and order too.

use super::json;
use samara_protocol::document::Merge;
use toml_edit::{DocumentMut, Item, TableLike, Value};

/// Merges what comes into what is there. The error says which of the two cannot be read, and why.
pub(super) fn merge(how: Merge, there: &[u8], coming: &[u8]) -> Result<Vec<u8>, String> {
    match how {
        Merge::Replace => Ok(coming.to_vec()),
        Merge::Toml => merge_toml(text(there, THERE)?, text(coming, COMING)?).map(String::into_bytes),
        Merge::Json => {
            let there = json::read(text(there, THERE)?).map_err(|e| format!("{THERE}: {e}"))?;
            let coming = json::read(text(coming, COMING)?).map_err(|e| format!("{COMING}: {e}"))?;
            there.patched(coming).write().map(String::into_bytes)
        }
    }
}

const THERE: &str = "the configuration that is there";
const COMING: &str = "the configuration of the release";

fn text<'a>(bytes: &'a [u8], whose: &str) -> Result<&'a str, String> {
    std::str::from_utf8(bytes).map_err(|e| format!("{whose} is no UTF-8: {e}"))
}

fn merge_toml(there: &str, coming: &str) -> Result<String, String> {
    let read = |text: &str, whose: &str| text.parse::<DocumentMut>().map_err(|e| format!("{whose}: {e}"));
    let (mut merged, coming) = (read(there, THERE)?, read(coming, COMING)?);
    merge_tables(merged.as_table_mut(), coming.as_table());
    let text = merged.to_string();
    // What cannot be read again never gets into its place.
    read(&text, "the merged configuration").map(|_| text)
}

fn merge_tables(there: &mut dyn TableLike, coming: &dyn TableLike) {
    for (key, item) in coming.iter() {
        match there.get_mut(key) {
            Some(old) => merge_item(old, item),
            None => {
                if let Some(key) = coming.key(key) {
                    there.entry_format(key).or_insert_with(|| unplaced(item));
                }
            }
        }
    }
}

fn merge_item(old: &mut Item, item: &Item) {
    if let (true, Some(coming)) = (old.is_table_like(), item.as_table_like())
        && let Some(table) = old.as_table_like_mut()
    {
        return merge_tables(table, coming);
    }
    match (old.as_value_mut(), item.as_value()) {
        (Some(old), Some(coming)) => set_value(old, coming.clone()),
        _ => *old = unplaced(item),
    }
}

/// The comment behind a value is about the key, and stays.
fn set_value(old: &mut Value, mut coming: Value) {
    *coming.decor_mut() = old.decor().clone();
    *old = coming;
}

/// Tables know where they stood in their own document; here they stand where they are put.
fn unplaced(item: &Item) -> Item {
    let mut item = item.clone();
    unplace(&mut item);
    item
}

fn unplace(item: &mut Item) {
    match item {
        Item::Table(table) => {
            table.set_position(None);
            table.iter_mut().for_each(|(_, inner)| unplace(inner));
        }
        Item::ArrayOfTables(tables) => tables.iter_mut().for_each(|table| {
            table.set_position(None);
            table.iter_mut().for_each(|(_, inner)| unplace(inner));
        }),
        Item::None | Item::Value(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(how: Merge, there: &str, coming: &str) -> Result<String, String> {
        merge(how, there.as_bytes(), coming.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn toml_keeps_comments_order_and_what_the_release_does_not_name() {
        let there = "# of the site\nname = \"press 4\" # painted on it\nrate = 5 # per second\n\n[net]\nport = 80\n# why\nhost = \"a\"\n\n[local]\nsecret = 'x'\n";
        let coming = "rate = 7\nnew = true\n[net]\nport = 8080\n[net.tls]\non = true\n[[peer]]\nname = 'b'\n";
        let merged = merged(Merge::Toml, there, coming).unwrap();
        assert_eq!(
            merged,
            "# of the site\nname = \"press 4\" # painted on it\nrate = 7 # per second\nnew = true\n\n[net]\nport = 8080\n# why\nhost = \"a\"\n[net.tls]\non = true\n\n[local]\nsecret = 'x'\n[[peer]]\nname = 'b'\n"
        );
    }

    #[test]
    fn merging_a_second_time_changes_nothing() {
        for (how, there, coming) in [
            (
                Merge::Toml,
                "a = 1\nt = { x = 1, y = 2 }\n[b]\nc = [1, 2]\n",
                "t = { y = 3 }\nb.c = [3]\nb.d.e = 'x'\n[[p]]\nn = 1\n",
            ),
            (
                Merge::Json,
                "{\"b\": 1, \"a\": {\"x\": [1, 2], \"y\": null}}",
                "{\"a\": {\"x\": [3], \"y\": null}, \"c\": {\"d\": {}}}",
            ),
        ] {
            let once = merged(how, there, coming).unwrap();
            assert_eq!(merged(how, &once, coming).unwrap(), once);
        }
    }

    #[test]
    fn a_value_may_become_a_table_and_a_table_a_value() {
        let merged = |there, coming| merged(Merge::Toml, there, coming).unwrap();
        assert_eq!(
            merged("a = 1\n", "[a]\nb = 2\n").parse::<DocumentMut>().unwrap()["a"]["b"].as_integer(),
            Some(2)
        );
        assert_eq!(
            merged("[a]\nb = 2\n", "a = 1\n").parse::<DocumentMut>().unwrap()["a"].as_integer(),
            Some(1)
        );
    }

    // The examples of RFC 7396, appendix A.
    #[test]
    fn json_is_merged_as_the_standard_says() {
        for (there, coming, expected) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, r#"null"#, r#"null"#),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let merged = merged(Merge::Json, there, coming).unwrap();
            let compact: String = merged.split_whitespace().collect();
            assert_eq!(compact, expected);
        }
    }

    #[test]
    fn numbers_and_order_of_json_stay_as_they_were_written() {
        let there = r#"{"z": 1.10, "big": 123456789012345678901234567890, "a": {"q": 1, "b": 2}}"#;
        let expected = "{\n  \"z\": 1.10,\n  \"big\": 123456789012345678901234567890,\n  \"a\": {\n    \"q\": 1,\n    \"b\": 3\n  }\n}\n";
        assert_eq!(merged(Merge::Json, there, r#"{"a": {"b": 3}}"#).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_nothing_is_merged() {
        for (how, there, coming, words) in [
            (Merge::Toml, "a = ", "b = 1", THERE),
            (Merge::Toml, "a = 1", "b", COMING),
            (Merge::Json, "{", "{}", THERE),
            (Merge::Json, "{}", "{} x", COMING),
        ] {
            let error = merged(how, there, coming).unwrap_err();
            assert!(error.starts_with(words), "{error}");
        }
        assert!(merge(Merge::Toml, b"\xff", b"").unwrap_err().starts_with(THERE));
    }
}
