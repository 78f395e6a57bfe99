//! Durations as HEALTHCHECK and `RUN --timeout` take them: the syntax of Go's `time.ParseDuration` (`1h30m`, `1.5s`).

use std::time::Duration;

/// Reads a duration. `Err` says what is wrong with it; negative ones are refused.
pub fn parse(text: &str) -> Result<Duration, String> {
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if unsigned.starts_with('-') {
        return Err(format!("`{text}` is negative"));
    }
    if unsigned == "0" {
        return Ok(Duration::ZERO);
    }
    if unsigned.is_empty() {
        return Err("the duration is empty".to_owned());
    }
    let mut total: u128 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let (number, tail) = rest.split_at(rest.len() - digits.len());
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale = scale(unit, text)?;
        total = nanoseconds(number, scale).and_then(|n| total.checked_add(n)).ok_or_else(|| not_a_duration(text))?;
        rest = tail;
    }
    u64::try_from(total)
        .ok()
        .filter(|n| i64::try_from(*n).is_ok())
        .map(Duration::from_nanos)
        .ok_or_else(|| format!("`{text}` is too long: the longest is about 290 years"))
}

fn not_a_duration(text: &str) -> String {
    format!("`{text}` is not a duration like `30s` or `1m30s`")
}

/// Nanoseconds in a unit.
fn scale(unit: &str, text: &str) -> Result<u128, String> {
    Ok(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" if text.bytes().all(|b| b.is_ascii_digit()) => {
            return Err(format!("`{text}` has no unit: write `{text}s` for seconds"));
        }
        "d" | "w" => return Err(format!("`{unit}` is no unit of a duration: the longest unit is `h`")),
        _ => return Err(not_a_duration(text)),
    })
}

/// `12.5` of something that is `scale` nanoseconds long; what is smaller than a nanosecond is cut off.
fn nanoseconds(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // 18 digits are finer than a nanosecond of an hour.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = if fraction.is_empty() {
        0
    } else {
        fraction.parse::<u128>().ok()? * scale / 10_u128.pow(fraction.len() as u32)
    };
    whole.checked_mul(scale)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("0", 0),
            ("+0", 0),
            ("5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("300ms", 300_000_000),
            ("7us", 7_000),
            ("7\u{b5}s", 7_000),
            ("1ns", 1),
            ("0.1ns", 0),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(parse(text).map(|d| d.as_nanos()), Ok(nanoseconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_reason() {
        let cases = [
            ("", "empty"),
            ("30", "write `30s`"),
            ("-1s", "negative"),
            ("1d", "no unit"),
            ("s", "not a duration"),
            (".s", "not a duration"),
            ("1.2.3s", "not a duration"),
            ("1s ", "not a duration"),
            ("ten", "not a duration"),
            ("9999999h", "too long"),
            ("99999999999999999999999999999999999999999h", "not a duration"),
        ];
        for (text, reason) in cases {
            let error = parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
