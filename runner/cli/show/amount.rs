//! Durations, sizes, ages and counts as people read them.

/// How long something took: `37 ms`, `3.2 s`, `42 s`, `1m 42s`, `2h 03m`, `3d 04h`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..=99 => format!("{ms} ms"),
        100..=9_949 => format!("{:.1} s", ms as f64 / 1000.0),
        9_950..=59_999 => format!("{} s", (ms + 50) / 1000),
        60_000..=3_599_999 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600_000..=86_399_999 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A clock that runs: whole tenths below ten seconds, so that it does not flicker with milliseconds.
pub(crate) fn elapsed(ms: u64) -> String {
    if ms < 9_950 { format!("{:.1} s", ms as f64 / 1000.0) } else { duration(ms) }
}

/// Bytes in decimal units: `812 B`, `3.4 kB`, `12 MB`.
pub(crate) fn size(bytes: u64) -> String {
    flowrun_core::artifact::size_text(bytes)
}

/// How long ago: `just now`, `5 min ago`, `3 h ago`, `2 days ago`.
pub(crate) fn age(ms: u64) -> String {
    let minutes = ms / 60_000;
    match minutes {
        0 => "just now".to_owned(),
        1..=119 => format!("{minutes} min ago"),
        120..=2_879 => format!("{} h ago", minutes / 60),
        _ => format!("{} days ago", minutes / 1440),
    }
}

/// `1 step`, `2,000 steps`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", grouped(number))
}

/// `12,345`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_change_unit_without_a_jump() {
        let shown = [0, 99, 100, 9_949, 9_950, 59_940, 59_999, 60_000, 102_000, 3_599_999, 7_380_000, 273_600_000];
        let texts: Vec<String> = shown.into_iter().map(duration).collect();
        let expected = [
            "0 ms", "99 ms", "0.1 s", "9.9 s", "10 s", "59 s", "60 s", "1m 00s", "1m 42s", "59m 59s", "2h 03m",
            "3d 04h",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn sizes_never_show_a_thousand() {
        let shown = [0, 999, 1000, 9_960, 999_499, 999_500, 12_000_000, u64::MAX];
        let texts: Vec<String> = shown.into_iter().map(size).collect();
        assert_eq!(texts, ["0 B", "999 B", "1.0 kB", "10 kB", "999 kB", "1.0 MB", "12 MB", "18 EB"]);
    }

    #[test]
    fn ages_and_counts() {
        let ages: Vec<String> = [0, 61_000, 7_200_000, 172_800_000].into_iter().map(age).collect();
        assert_eq!(ages, ["just now", "1 min ago", "2 h ago", "2 days ago"]);
        assert_eq!((count(1, "step"), count(5000, "step")), ("1 step".to_owned(), "5,000 steps".to_owned()));
    }
}
