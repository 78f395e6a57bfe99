//! The syntax of `--chmod`: octal, or symbolic as in chmod(1).

/// Whether `text` is a mode: octal `0`–`07777`, or clauses `[ugoa]*([-+=]([rwxXst]*|[ugo]))+` joined by commas. The
/// error says what is wrong.
pub fn validate(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the mode is empty".into());
    }
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        let octal = u32::from_str_radix(text, 8).map_err(|_| "an octal mode has only the digits 0 to 7".to_owned())?;
        return if octal > 0o7777 { Err("the largest mode is 7777".into()) } else { Ok(()) };
    }
    text.split(',').try_for_each(clause)
}

fn clause(text: &str) -> Result<(), String> {
    let mut rest = text.trim_start_matches(['u', 'g', 'o', 'a']);
    if rest.is_empty() {
        return Err(format!("`{text}` has no +, - or ="));
    }
    while let Some(first) = rest.chars().next() {
        if !matches!(first, '+' | '-' | '=') {
            return Err(match first {
                'u' | 'g' | 'o' | 'r' | 'w' | 'x' | 'X' | 's' | 't' => {
                    format!("`{first}` stands where +, - or = must stand in `{text}`")
                }
                other => format!("`{other}` means nothing in a mode"),
            });
        }
        rest = &rest[1..];
        rest = match rest.chars().next() {
            // Copies the permissions of one class; nothing else may follow it.
            Some('u' | 'g' | 'o') => &rest[1..],
            _ => rest.trim_start_matches(['r', 'w', 'x', 'X', 's', 't']),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::validate;

    #[test]
    fn modes_are_octal_or_symbolic() {
        for good in ["0", "644", "0755", "07777", "4755", "u=rwX,go=rX", "+x", "a-w", "g=u", "u+s,+t", "u=rw+x", "="] {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
        for bad in ["", "888", "17777", "755x", "u", "rwx", "u=rwz", "u=rw,", "x+u", "g=ur", "-rw é"] {
            assert!(validate(bad).is_err(), "{bad}");
        }
    }
}
