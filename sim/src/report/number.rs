//! Numbers as people read them: as many digits as mean something, with their unit.

/// `0.25 s`, `28.14 s`, `1 234 s`.
pub(super) fn seconds(value: f64) -> String {
    if value.abs() < 999.995 { format!("{value:.2} s") } else { format!("{} s", grouped(value)) }
}

/// With narrow spaces between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `8 B`, `2.5 KiB`, `64.0 MiB`, `1.00 GiB`.
pub(super) fn bytes(value: u64) -> String {
    let scaled = |shift: u32| value as f64 / (1_u64 << shift) as f64;
    match value {
        0..0x400 => format!("{value} B"),
        0x400..0x10_0000 => format!("{:.1} KiB", scaled(10)),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", scaled(20)),
        _ => format!("{:.2} GiB", scaled(30)),
    }
}

/// `12.5 %`; never 100 of what is not all, nor 0 of what is not nothing.
pub(super) fn percent(part: f64) -> String {
    let rounded = (part * 1000.0).round() / 10.0;
    if rounded >= 100.0 && part < 1.0 {
        "99.9 %".into()
    } else if rounded <= 0.0 && part > 0.0 {
        "0.1 %".into()
    } else {
        format!("{rounded} %")
    }
}

/// A ratio or a number of copies.
pub(super) fn ratio(value: f64) -> String {
    format!("{value:.3}")
}

/// A mark of an axis: no more digits than it needs.
pub(super) fn tick(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded.abs() >= 10_000.0 { grouped(rounded) } else { format!("{rounded}") }
}

/// `1 device`, `7 devices`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_digits_that_mean_something() {
        let all = [0.0, 0.251, 28.14, 999.99, 1234.4, -3.0].map(seconds);
        let expected = ["0.00 s", "0.25 s", "28.14 s", "999.99 s", "1\u{202f}234 s", "-3.00 s"];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_part_is_not_rounded_to_all_or_to_nothing() {
        let all = [0.0, 0.00001, 0.125, 0.98, 0.99999, 1.0].map(percent);
        assert_eq!(all, ["0 %", "0.1 %", "12.5 %", "98 %", "99.9 %", "100 %"]);
    }

    #[test]
    fn sizes_change_their_unit_where_it_gets_large() {
        let all = [7, 2048, 64 << 20, 3 << 29].map(bytes);
        assert_eq!(all, ["7 B", "2.0 KiB", "64.0 MiB", "1.50 GiB"]);
    }

    #[test]
    fn an_axis_shows_no_noise_of_binary_fractions() {
        assert_eq!([0.1 + 0.2, 20.0, 12_500.0].map(tick), ["0.3", "20", "12\u{202f}500"]);
    }
}
