//! Paths as text, as definitions print them: nothing here looks at a file.

/// The shortest path that is the same, as Go's `path.Clean`: no `.`, no doubled slash, `..` taken up where that is possible.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

/// Whether a context is an address and not a directory, as buildx sees it.
pub fn is_address(context: &str) -> bool {
    let schemes = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
    schemes.iter().any(|scheme| context.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn cleaned_paths_are_short_and_the_same() {
        let cases = [
            ("./web", "web"),
            ("", "."),
            (".", "."),
            ("a/../..", ".."),
            ("/..", "/"),
            ("a//b/./c/..", "a/b"),
            ("../x", "../x"),
        ];
        for (path, want) in cases {
            assert_eq!(clean(path), want, "{path}");
        }
    }
}
