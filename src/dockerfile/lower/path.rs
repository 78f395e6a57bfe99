//! Paths of the image, by text only: nothing here looks at a file system.

/// `path` made absolute by `workdir` and cleaned (`.`, `..`, doubled `/`); `..` stops at the root. No trailing `/`.
pub fn absolute(workdir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { workdir };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

/// As [`absolute`], but what can only be a directory (`dir/`, `.`, `a/..`, nothing) ends in `/`.
pub fn absolute_dest(workdir: &str, path: &str) -> String {
    let mut full = absolute(workdir, path);
    if means_directory(path) && full != "/" {
        full.push('/');
    }
    full
}

/// Whether a destination as written says "into this directory".
pub fn means_directory(path: &str) -> bool {
    matches!(path.rsplit('/').next(), None | Some("" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_absolute_and_keep_their_slash() {
        let cases = [
            ("/", "a", "/a"),
            ("/w", "a/", "/w/a/"),
            ("/w", ".", "/w/"),
            ("/w", "./", "/w/"),
            ("/w", "", "/w/"),
            ("/w", "..", "/"),
            ("/w/x", "../y", "/w/y"),
            ("/w", "/", "/"),
            ("/w", "/a//b/./c/..", "/a/b/"),
            ("/w", "/../../etc", "/etc"),
            ("", "a b", "/a b"),
        ];
        for (workdir, path, want) in cases {
            assert_eq!(absolute_dest(workdir, path), want, "{workdir} + {path}");
        }
        assert_eq!(absolute("/w", "a/"), "/w/a");
    }
}
