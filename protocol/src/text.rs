//! Which characters a text may have that people read.

/// Whether a character leaves what is shown around it alone: no control, line or paragraph end, or direction override
/// (D6, D11).
pub(crate) fn is_plain(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
