//! HEALTHCHECK: Go durations and the flags.

use super::site::{Fault, Site};
use crate::dockerfile::ast::{Command, Flag, Healthcheck};
use crate::image::config::Health;

const MILLISECOND: u64 = 1_000_000;

/// The config's Healthcheck. Durations are Go's; 0 leaves the value to the runtime, else at least 1 ms.
pub fn health(site: &Site<'_>, flags: &[Flag], check: &Healthcheck) -> Result<Health, Fault> {
    let mut health = Health::default();
    for flag in flags {
        let name = flag.name.value.as_str();
        let Some(value) = &flag.value else {
            return Err(site.error("flag-value", format!("--{name} needs a value"), flag.name.span).into());
        };
        let slot = match name {
            "interval" => &mut health.interval,
            "timeout" => &mut health.timeout,
            "start-period" => &mut health.start_period,
            "start-interval" => &mut health.start_interval,
            "retries" => {
                health.retries = value.value.parse::<u32>().map(u64::from).map_err(|_| {
                    site.error("invalid-retries", format!("'{}' is not a count", value.value), value.span)
                        .help("give a number, 0 for the default of 3")
                })?;
                continue;
            }
            _ => return Err(site.unknown_flag("HEALTHCHECK", &flag.name, &FLAGS)),
        };
        *slot = duration(&value.value)
            .map_err(|reason| format!("'{}' is not a duration: {reason}", value.value))
            .and_then(|ns| match ns {
                1..MILLISECOND => Err(format!("--{name} is shorter than 1ms")),
                ns => Ok(ns),
            })
            .map_err(|message| {
                site.error("invalid-duration", message, value.span).help("write it like 30s, 1m30s or 500ms")
            })?;
    }
    health.test = match check {
        Healthcheck::None => vec!["NONE".into()],
        Healthcheck::Cmd(Command::Shell { text, .. }) => vec!["CMD-SHELL".into(), text.value.clone()],
        Healthcheck::Cmd(Command::Exec { argv, .. }) => {
            std::iter::once("CMD".to_owned()).chain(argv.iter().map(|w| w.value.clone())).collect()
        }
    };
    Ok(health)
}

const FLAGS: [&str; 5] = ["interval", "timeout", "start-period", "start-interval", "retries"];

/// Nanoseconds of a Go duration: `1h2m3.5s`, `500ms`, `0`. Negative ones are refused.
fn duration(text: &str) -> Result<u64, String> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.starts_with('-') {
        return Err("it is negative".into());
    }
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if !number.contains(|c: char| c.is_ascii_digit()) {
            return Err(format!("a number is missing before '{after}'"));
        }
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => MILLISECOND,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err(format!("a unit is missing after '{number}'")),
            other => return Err(format!("'{other}' is no unit (ns, us, ms, s, m, h)")),
        };
        total = scaled(number, scale).and_then(|n| total.checked_add(n)).ok_or("it is too long or malformed")?;
        rest = next;
    }
    // Go's durations are signed.
    i64::try_from(total).map(|_| total).map_err(|_| "it is too long".into())
}

/// `number` (decimal, maybe with a fraction) times `scale`, rounded down; exact, without floating point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = whole.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.chars() {
        unit /= 10;
        total = total.checked_add(u64::from(digit.to_digit(10)?) * unit)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_gos() {
        let cases = [
            ("0", Some(0)),
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            (".5s", Some(500_000_000)),
            ("100ms", Some(100_000_000)),
            ("2us", Some(2_000)),
            ("30", None),
            ("", None),
            ("-1s", None),
            ("1d", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("99999999999h", None),
        ];
        for (text, want) in cases {
            assert_eq!(duration(text).ok(), want, "{text}");
        }
    }
}
