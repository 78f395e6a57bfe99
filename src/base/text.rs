//! Small grammars that options on the command line and options of instructions share.

use std::ops::Range;

/// The fields of one CSV record (RFC 4180), each with where it stands in `line`, quotes included: a field in double
/// quotes may hold commas, and `""` for a quote. docker and BuildKit write option lists so: `type=tar,dest=x`.
///
/// # Errors
/// What is wrong with the quotes.
pub fn csv(line: &str) -> Result<Vec<(Range<usize>, String)>, &'static str> {
    let mut fields = Vec::new();
    let mut offset = 0;
    loop {
        let rest = &line[offset..];
        let (text, length) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (text, inner) = unquote(quoted).ok_or("a quote is not closed")?;
                (text, inner + 1)
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err("a quote stands inside a field; quote the whole field");
                }
                (rest[..end].to_owned(), end)
            }
        };
        fields.push((offset..offset + length, text));
        match line[offset + length..].chars().next() {
            None => return Ok(fields),
            Some(',') => offset += length + 1,
            Some(_) => return Err("something other than a comma follows a closing quote"),
        }
    }
}

/// docker's option lists, `type=tar,dest=x`: the fields of [`csv`] as keys, in lower case, and values. A field without `=`
/// is left as it is, without a value.
///
/// # Errors
/// As [`csv`].
pub fn pairs(line: &str) -> Result<Vec<(String, Option<String>)>, &'static str> {
    let pair = |field: String| match field.split_once('=') {
        Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(value.to_owned())),
        None => (field.trim().to_owned(), None),
    };
    Ok(csv(line)?.into_iter().map(|(_, field)| pair(field)).collect())
}

/// The text up to the closing quote, and how many bytes it took with that quote.
fn unquote(quoted: &str) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if chars.next_if(|(_, next)| *next == '"').is_some() => text.push('"'),
            '"' => return Some((text, at + 1)),
            c => text.push(c),
        }
    }
    None
}

/// Bytes of `64m`, `1GiB`, `512kb`, `1024`: all units are powers of 1024, as docker has it. `None`: it is no size, or
/// more than 64 bits hold.
pub fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        let texts = |line| csv(line).map(|fields| fields.into_iter().map(|(_, text)| text).collect::<Vec<_>>());
        let cases: [(&str, &[&str]); 6] = [
            ("", &[""]),
            ("a,", &["a", ""]),
            ("type=bind,ro", &["type=bind", "ro"]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#""say ""x""",c"#, &["say \"x\"", "c"]),
            (r#"type=bind,"source=a,b""c",ro"#, &["type=bind", "source=a,b\"c", "ro"]),
        ];
        for (line, expected) in cases {
            assert_eq!(texts(line), Ok(expected.iter().map(|text| (*text).to_owned()).collect()), "{line}");
        }
        for bad in ["\"a", "\"a\"b", "a\"b"] {
            assert!(csv(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_tell_where_they_stand() {
        let ranges: Vec<_> = csv(r#"é,"b,",c"#).unwrap().into_iter().map(|(range, _)| range).collect();
        assert_eq!(ranges, [0..2, 3..7, 8..9]);
    }

    #[test]
    fn sizes_have_binary_units_and_do_not_overflow() {
        let good = [("17", 17), ("64m", 64 << 20), ("1GiB", 1 << 30), ("2KB", 2048), (" 3 b", 3)];
        for (text, want) in good {
            assert_eq!(bytes(text), Some(want), "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1ib", "1.5g", "99999999t"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
