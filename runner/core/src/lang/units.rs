//! Durations and sizes as people write them.

use std::time::Duration;

/// `90s`, `1.5h`, `250ms`: a number and one of `ms`, `s`, `m`, `h`, `d`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    // A hundred years: `Duration` holds more, but adding it to an instant need not.
    let total = number * seconds;
    (total <= 3.2e9).then(|| Duration::from_secs_f64(total))
}

/// `4GiB`, `500MB`, `1024B`: bytes. Units are decimal (`kB`, `MB`, `GB`, `TB`) or binary (`KiB`, `MiB`, `GiB`, `TiB`).
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: f64 = match unit {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1048576.0,
        "GiB" => 1073741824.0,
        "TiB" => 1099511627776.0,
        _ => return None,
    };
    let total = number * factor;
    (total < 1.8e19).then_some(total as u64)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..end].trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some((number, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_nonsense_is_not() {
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(size("4GiB"), Some(4 << 30));
        assert_eq!(size("500 MB"), Some(500_000_000));
        for bad in ["", "5", "s", "-1s", "1e99d", "4 gib", "nans"] {
            assert!(duration(bad).is_none() && size(bad).is_none(), "{bad}");
        }
    }
}
