//! Functions of times, which are texts as RFC 3339 has them.

use super::arguments::{Function, Outcome, function, text};
use crate::dockerfile::duration;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use std::fmt::Write as _;

pub const FUNCTIONS: &[Function] = &[
    function("formatdate", 2, 2, |a| Ok(format(&text(a, 0)?, &Time::read(&text(a, 1)?)?)?.into())),
    function("timeadd", 2, 2, |a| add(&text(a, 0)?, &text(a, 1)?)),
];

/// A moment, and from where it is seen.
struct Time {
    local: DateTime,
    offset: Offset,
}

impl Time {
    fn read(text: &str) -> Result<Time, String> {
        let wrong = || format!("'{text}' is no time such as 2026-01-31T12:00:00Z");
        let (local, zone) = text.split_at_checked(19).ok_or_else(wrong)?;
        let offset = match zone {
            "Z" => Offset::UTC,
            _ => {
                let (sign, digits) = zone.split_at_checked(1).ok_or_else(wrong)?;
                let (hours, minutes) = digits.split_once(':').ok_or_else(wrong)?;
                let number = |digits: &str| digits.parse::<i32>().ok().filter(|_| digits.len() == 2);
                let (hours, minutes) = number(hours).zip(number(minutes)).ok_or_else(wrong)?;
                let seconds = hours * 3600 + minutes * 60;
                match sign {
                    "+" => Offset::from_seconds(seconds).map_err(|_| wrong())?,
                    "-" => Offset::from_seconds(-seconds).map_err(|_| wrong())?,
                    _ => return Err(wrong()),
                }
            }
        };
        Ok(Time { local: local.parse().map_err(|_| wrong())?, offset })
    }

    /// `+02:00`, or `Z` where that is allowed and right.
    fn zone(&self, colon: bool, z: bool) -> String {
        let minutes = self.offset.seconds() / 60;
        match minutes {
            0 if z => "Z".to_owned(),
            _ => {
                let sign = if minutes < 0 { '-' } else { '+' };
                let colon = if colon { ":" } else { "" };
                format!("{sign}{:02}{colon}{:02}", minutes.abs() / 60, minutes.abs() % 60)
            }
        }
    }
}

fn add(time: &str, span: &str) -> Outcome {
    let time = Time::read(time)?;
    let (span, back) = span.strip_prefix('-').map_or((span, false), |rest| (rest, true));
    let span = duration::parse(span)?;
    let moved = if back { time.local.checked_sub(span) } else { time.local.checked_add(span) };
    let local = moved.map_err(|_| "the result is out of range")?;
    Ok(format("YYYY-MM-DD'T'hh:mm:ssZ", &Time { local, ..time })?.into())
}

/// Runs of one letter stand for a part of the time; text in single quotes, and all that is no letter, for itself.
fn format(pattern: &str, time: &Time) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        if c == '\'' {
            rest = quoted(&rest[1..], &mut out)?;
            continue;
        }
        let run = rest.len() - rest.trim_start_matches(c).len();
        let (token, after) = rest.split_at(run);
        rest = after;
        if c.is_ascii_alphabetic() {
            part(token, time, &mut out)?;
        } else {
            out.push_str(token);
        }
    }
    Ok(out)
}

/// Text up to its closing quote, and what follows; two quotes are one.
fn quoted<'t>(text: &'t str, out: &mut String) -> Result<&'t str, String> {
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('\'').ok_or("a quote is not closed")?;
        out.push_str(part);
        match after.strip_prefix('\'') {
            Some(more) => {
                out.push('\'');
                rest = more;
            }
            None => return Ok(after),
        }
    }
}

fn part(token: &str, time: &Time, out: &mut String) -> Result<(), String> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
    let local = time.local;
    let month = MONTHS[(local.month() as usize - 1) % 12];
    let day = DAYS[local.weekday().to_monday_zero_offset() as usize % 7];
    let twelve = (local.hour() + 11) % 12 + 1;
    let half = if local.hour() < 12 { "am" } else { "pm" };
    let _ = match token {
        "YYYY" => write!(out, "{:04}", local.year()),
        "YY" => write!(out, "{:02}", local.year() % 100),
        "MMMM" => write!(out, "{month}"),
        "MMM" => write!(out, "{}", &month[..3]),
        "MM" => write!(out, "{:02}", local.month()),
        "M" => write!(out, "{}", local.month()),
        "DD" => write!(out, "{:02}", local.day()),
        "D" => write!(out, "{}", local.day()),
        "EEEE" => write!(out, "{day}"),
        "EEE" => write!(out, "{}", &day[..3]),
        "hh" => write!(out, "{:02}", local.hour()),
        "h" => write!(out, "{}", local.hour()),
        "HH" => write!(out, "{twelve:02}"),
        "H" => write!(out, "{twelve}"),
        "AA" => write!(out, "{}", half.to_uppercase()),
        "aa" => write!(out, "{half}"),
        "mm" => write!(out, "{:02}", local.minute()),
        "m" => write!(out, "{}", local.minute()),
        "ss" => write!(out, "{:02}", local.second()),
        "s" => write!(out, "{}", local.second()),
        "ZZZZZ" => write!(out, "{}", time.zone(true, false)),
        "ZZZZ" => write!(out, "{}", time.zone(false, false)),
        "ZZZ" if time.offset.is_zero() => write!(out, "UTC"),
        "ZZZ" => write!(out, "{}", time.zone(false, false)),
        "Z" => write!(out, "{}", time.zone(true, true)),
        other => return Err(format!("there is no part `{other}` of a time; text stands in single quotes")),
    };
    Ok(())
}

/// A moment in seconds since 1970 as text.
pub fn moment(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    format("YYYY-MM-DD'T'hh:mm:ssZ", &Time { local: Offset::UTC.to_datetime(time), offset: Offset::UTC }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bake::value::Value;

    #[test]
    fn times_are_formatted_part_by_part() {
        let time = Time::read("2024-02-03T14:05:06+05:30").unwrap();
        let cases = [
            ("YYYY-MM-DD'T'hh:mm:ssZ", "2024-02-03T14:05:06+05:30"),
            ("EEE, D MMM YY H:m:s AA", "Sat, 3 Feb 24 2:5:6 PM"),
            ("EEEE MMMM HHaa 'o''clock' ZZZZ", "Saturday February 02pm o'clock +0530"),
        ];
        for (pattern, want) in cases {
            assert_eq!(format(pattern, &time).as_deref(), Ok(want), "{pattern}");
        }
        for bad in ["YYY", "'x", "Q"] {
            assert!(format(bad, &time).is_err(), "{bad}");
        }
        for bad in ["", "2024-02-03", "2024-02-30T00:00:00Z", "2024-02-03T00:00:00", "2024-02-03T00:00:00+1:00"] {
            assert!(Time::read(bad).is_err(), "{bad}");
        }
        assert_eq!(moment(1_700_000_000).as_deref(), Some("2023-11-14T22:13:20Z"));
    }

    #[test]
    fn spans_are_added_and_taken_away() {
        let cases = [("1h30m", "2024-02-29T00:30:00Z"), ("-24h", "2024-02-27T23:00:00Z")];
        for (span, want) in cases {
            assert_eq!(add("2024-02-28T23:00:00Z", span), Ok(Value::from(want)), "{span}");
        }
        assert!(add("2024-02-28T23:00:00Z", "x").is_err());
    }
}
