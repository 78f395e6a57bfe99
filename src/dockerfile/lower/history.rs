//! `created_by` lines, in the form BuildKit gives them, so that tools that read them keep working.

use crate::graph::CopySource;
use crate::graph::remote::redacted;
use std::collections::BTreeSet;
use std::fmt::Write;

/// `RUN |1 A=b /bin/sh -c make # buildkit`. `args`: every ARG in scope with its value, empty if it has none.
pub fn run(args: &[(String, String)], argv: &[String]) -> String {
    let mut line = String::from("RUN");
    if !args.is_empty() {
        let _ = write!(line, " |{}", args.len());
        for (name, value) in args {
            let _ = write!(line, " {name}={value}");
        }
    }
    for word in argv {
        let _ = write!(line, " {word}");
    }
    line + " # buildkit"
}

/// `COPY --chown=u a b /dst # buildkit`. Where the files come from is not told, as BuildKit does not.
pub fn copy(op: &crate::graph::CopyOp, dest: &str) -> String {
    let mut line = String::from(if op.is_add { "ADD" } else { "COPY" });
    if op.parents {
        line.push_str(" --parents");
    }
    for (flag, value) in [("chown", &op.chown), ("chmod", &op.chmod)] {
        if let Some(value) = value {
            let _ = write!(line, " --{flag}={value}");
        }
    }
    for source in &op.sources {
        let _ = match source {
            CopySource::Context { pattern, .. } | CopySource::Step { pattern, .. } => write!(line, " {pattern}"),
            CopySource::Remote { url, .. } => write!(line, " {}", redacted(url)),
            CopySource::Inline { name, .. } => write!(line, " <<{name}"),
        };
    }
    line + " " + dest + " # buildkit"
}

/// `ENV a=b c=d`; also LABEL.
pub fn pairs(name: &str, pairs: &[(String, String)]) -> String {
    let mut line = name.to_owned();
    for (key, value) in pairs {
        let _ = write!(line, " {key}={value}");
    }
    line
}

/// `EXPOSE [443/tcp 80/tcp]`: how Go prints the list.
pub fn expose(ports: &BTreeSet<String>) -> String {
    let keys: Vec<&str> = ports.iter().map(String::as_str).collect();
    format!("EXPOSE [{}]", keys.join(" "))
}

/// `VOLUME [/data /log]`; also SHELL: how Go prints a list.
pub fn list(name: &str, words: &[String]) -> String {
    format!("{name} [{}]", words.join(" "))
}

/// `CMD ["nginx" "-g"]`; also ENTRYPOINT: how Go prints a list with `%q`.
pub fn quoted(name: &str, words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("{name} [{}]", words.join(" "))
}

/// Go's `strconv.Quote`.
fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\t' => write!(out, "\\t"),
            '\r' => write!(out, "\\r"),
            '\x07' => write!(out, "\\a"),
            '\x08' => write!(out, "\\b"),
            '\x0b' => write!(out, "\\v"),
            '\x0c' => write!(out, "\\f"),
            c if c.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(c)),
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_buildkits() {
        let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(run(&[], &words(&["/bin/sh", "-c", "make"])), "RUN /bin/sh -c make # buildkit");
        assert_eq!(
            run(&[pair("A", "b"), pair("C", "")], &words(&["/bin/sh", "-c", "make"])),
            "RUN |2 A=b C= /bin/sh -c make # buildkit"
        );
        assert_eq!(quoted("CMD", &words(&["nginx", "-g", "a \"b\"\n\x01"])), r#"CMD ["nginx" "-g" "a \"b\"\n\x01"]"#);
        assert_eq!(list("VOLUME", &words(&["/a", "/b"])), "VOLUME [/a /b]");
        assert_eq!(pairs("ENV", &[pair("a", "b c"), pair("d", "")]), "ENV a=b c d=");
        let ports = ["80/tcp", "443/tcp"].map(str::to_owned).into_iter().collect();
        assert_eq!(expose(&ports), "EXPOSE [443/tcp 80/tcp]");
    }
}
