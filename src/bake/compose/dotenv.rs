//! `.env`: variables for compose files.

use super::interpolate::interpolate;
use std::collections::BTreeMap;

/// Adds the file's variables to an environment; those that it has already stay.
///
/// # Errors
/// The line (from 1) and why it is none.
pub fn read(text: &str, environment: &mut BTreeMap<String, String>) -> Result<(), (usize, String)> {
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let wrong = |why: &str| (index + 1, why.to_owned());
        let (name, value) = line.split_once(['=', ':']).ok_or_else(|| wrong("it must be NAME=VALUE"))?;
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong("it has no name"));
        }
        let value = self::value(value.trim_start(), environment).map_err(|why| (index + 1, why))?;
        environment.entry(name.to_owned()).or_insert(value);
    }
    Ok(())
}

/// A value: in single quotes as it is, in double quotes or bare with variables. A comment after it has a blank before.
fn value(text: &str, environment: &BTreeMap<String, String>) -> Result<String, String> {
    let expanded = |text: &str| interpolate(text, environment).map(|(text, _)| text).map_err(|broken| broken.why);
    if let Some(quoted) = text.strip_prefix('\'') {
        return quoted
            .split_once('\'')
            .map(|(value, _)| value.to_owned())
            .ok_or_else(|| "a quote is not closed".into());
    }
    if let Some(quoted) = text.strip_prefix('"') {
        let mut value = String::new();
        let mut chars = quoted.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => return expanded(&value),
                '\\' => match chars.next() {
                    Some('n') => value.push('\n'),
                    Some('t') => value.push('\t'),
                    Some('r') => value.push('\r'),
                    Some('$') => value.push_str("$$"),
                    Some(other) => value.push(other),
                    None => break,
                },
                c => value.push(c),
            }
        }
        return Err("a quote is not closed".into());
    }
    expanded(text.split(" #").next().unwrap_or_default().trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_and_those_there_stay() {
        let mut environment = BTreeMap::from([("A".to_owned(), "outside".to_owned())]);
        let text = "# c\nA=x\nexport B = b # c\nC='$A #'\nD=\"$A\\n\"\nE=\nF=a#b\nG=${B}!\n";
        read(text, &mut environment).unwrap();
        let want =
            [("A", "outside"), ("B", "b"), ("C", "$A #"), ("D", "outside\n"), ("E", ""), ("F", "a#b"), ("G", "b!")];
        assert_eq!(environment, want.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        for bad in ["A", "=x", "A B=c", "A='x", "A=\"x", "A=${"] {
            assert!(read(bad, &mut BTreeMap::new()).is_err(), "{bad}");
        }
    }
}
