//! Paths relative to a root, as bytes.

use std::cmp::Ordering;

/// The parts of a path between slashes, without empty ones and `.`.
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".")
}

/// `dir/name`, both relative; an empty `dir` is the root, an empty `name` the directory itself.
pub fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match (dir.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => dir.to_vec(),
        _ => [dir, b"/", name].concat(),
    }
}

/// The part of `path` below the directory `dir`, if it is below it; `dir` itself is not.
pub fn below<'p>(dir: &[u8], path: &'p [u8]) -> Option<&'p [u8]> {
    if dir.is_empty() {
        return Some(path).filter(|p| !p.is_empty());
    }
    path.strip_prefix(dir)?.strip_prefix(b"/")
}

/// Everything before the last component; empty for a name in the root.
pub fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(b"", |i| &path[..i])
}

/// The last component.
pub fn file_name(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').map_or(path, |i| &path[i + 1..])
}

/// Component by component: a directory comes right before what it holds.
pub fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    // No name holds a NUL, so a slash that sorts as one sorts before every other byte of a name.
    let key = |b: &u8| if *b == b'/' { 0 } else { *b };
    a.iter().map(key).cmp(b.iter().map(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_sorts_right_before_what_it_holds() {
        let mut paths = ["a-b", "a/x", "a", "a/x/y", "a/x.z", "b"].map(str::as_bytes);
        paths.sort_by(|a, b| path_order(a, b));
        assert_eq!(paths, ["a", "a/x", "a/x/y", "a/x.z", "a-b", "b"].map(str::as_bytes));
    }

    #[test]
    fn below_is_by_whole_components() {
        assert_eq!(below(b"a", b"a/b/c"), Some(&b"b/c"[..]));
        assert_eq!(below(b"a", b"ab"), None);
        assert_eq!(below(b"a", b"a"), None);
        assert_eq!(below(b"", b"a"), Some(&b"a"[..]));
        assert_eq!(below(b"", b""), None);
        assert_eq!((parent(b"a/b"), parent(b"a"), file_name(b"a/b")), (&b"a"[..], &b""[..], &b"b"[..]));
    }
}
