//! Which paths a source word names: literal paths are looked up, patterns matched component by component, so that
//! a large context costs what the pattern touches.

use crate::dockerfile::ignore::{go_match, has_wildcard};
use crate::ops::OpError;
use crate::ops::source::{Item, Source, Verdict, below, components, join, path_order};

/// A source word without what can't leave the source: no leading `/`, no `.` and `..` (dockerfile.md C13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    parts: Vec<Vec<u8>>,
    /// Its characters mean themselves.
    exact: bool,
    /// How many of the parts stand before a `/./` (dockerfile.md C22).
    pub pivot: usize,
}

/// A path that a pattern names.
#[derive(Clone, Debug)]
pub(super) struct Hit {
    /// The path by the names that matched; the root is empty.
    pub named: Vec<u8>,
    /// What is there, links not followed in the last component.
    pub item: Item,
}

impl Pattern {
    pub fn new(text: &str) -> Pattern {
        let (before, after) = text.split_once("/./").unwrap_or(("", text));
        let mut parts = Vec::new();
        clean(before, &mut parts);
        let pivot = parts.len();
        let lowest = clean(after, &mut parts);
        Pattern { parts, exact: false, pivot: pivot.min(lowest) }
    }

    /// One name, or with an empty one the source itself; nothing in it is a wildcard.
    pub fn exactly(name: &str) -> Pattern {
        let parts = if name.is_empty() { Vec::new() } else { vec![name.as_bytes().to_vec()] };
        Pattern { parts, exact: true, pivot: 0 }
    }

    /// Whether it has to be matched rather than looked up.
    pub fn is_wild(&self) -> bool {
        !self.exact && self.parts.iter().any(|p| has_wildcard(p))
    }

    /// The path it names if it is not wild.
    pub fn literal(&self) -> Vec<u8> {
        self.parts.iter().fold(Vec::new(), |path, part| join(&path, part))
    }

    /// Finds what a wild pattern matches, in path order. `deep`: `**` stands for any number of directories
    /// (dockerfile.md C21). `hidden` tells what to pass over.
    pub fn search(
        &self,
        source: &Source<'_>,
        deep: bool,
        judge: &(dyn Fn(&Item) -> Verdict + Sync),
    ) -> Result<Vec<Hit>, OpError> {
        let first = self.parts.iter().position(|p| has_wildcard(p)).unwrap_or(self.parts.len());
        let named = self.parts[..first].iter().fold(Vec::new(), |path, part| join(&path, part));
        // Links are followed in front of the first wildcard only: what a wildcard finds is taken by its own name.
        let mut front = match source.find(&named, true)? {
            Some(item) => vec![Hit { named, item }],
            None => return Ok(Vec::new()),
        };
        for part in &self.parts[first..] {
            let mut next = Vec::new();
            for dir in front.iter().filter(|hit| hit.item.is_dir()) {
                match part.as_slice() {
                    b"**" if deep => next.extend(all_below(source, dir, judge)?),
                    part if has_wildcard(part) => next.extend(matching(source, dir, part, judge)?),
                    name => {
                        let item = source.find(&join(&dir.item.path, name), false)?;
                        next.extend(item.filter(|i| judge(i) != Verdict::Skip).map(|item| dir.child(name, item)));
                    }
                }
            }
            front = next;
        }
        if deep {
            // `**/x/**` reaches one path in several ways, and a directory brings all that is below it.
            front.sort_by(|a, b| path_order(&a.named, &b.named));
            front.dedup_by(|next, kept| {
                next.named == kept.named || (kept.item.is_dir() && below(&kept.named, &next.named).is_some())
            });
        }
        Ok(front)
    }
}

impl Hit {
    fn child(&self, name: &[u8], item: Item) -> Hit {
        Hit { named: join(&self.named, name), item }
    }
}

/// Adds the parts of `text`; gives the fewest parts that there were on the way.
fn clean(text: &str, parts: &mut Vec<Vec<u8>>) -> usize {
    let mut lowest = parts.len();
    for part in components(text.as_bytes()) {
        match part {
            b".." => drop(parts.pop()),
            part => parts.push(part.to_vec()),
        }
        lowest = lowest.min(parts.len());
    }
    lowest
}

fn matching(
    source: &Source<'_>,
    dir: &Hit,
    part: &[u8],
    judge: &(dyn Fn(&Item) -> Verdict + Sync),
) -> Result<Vec<Hit>, OpError> {
    let mut hits = Vec::new();
    for item in source.children(&dir.item)? {
        let matches = go_match(part, item.name()).map_err(|reason| {
            let part = String::from_utf8_lossy(part).into_owned();
            OpError::input("copy-pattern-invalid", format!("`{part}` is no pattern: {reason}"))
        })?;
        let visible = match judge(&item) {
            Verdict::Keep => true,
            Verdict::Look => item.is_dir(),
            Verdict::Skip => false,
        };
        if matches && visible {
            hits.push(dir.child(item.name(), item.clone()));
        }
    }
    Ok(hits)
}

/// `**`: the directory itself and everything below it.
fn all_below(source: &Source<'_>, dir: &Hit, judge: &(dyn Fn(&Item) -> Verdict + Sync)) -> Result<Vec<Hit>, OpError> {
    let mut hits = vec![dir.clone()];
    for item in source.walk(&dir.item, judge)? {
        let rest = below(&dir.item.path, &item.path).unwrap_or_default().to_vec();
        hits.push(dir.child(&rest, item));
    }
    Ok(hits)
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn a_source_word_never_leaves_its_root() {
        for (text, path) in [
            ("/etc/passwd", "etc/passwd"),
            ("../../x", "x"),
            ("a/../../b", "b"),
            ("./a//b/.", "a/b"),
            ("/", ""),
            ("..", ""),
        ] {
            assert_eq!(Pattern::new(text).literal(), path.as_bytes(), "{text}");
        }
    }

    #[test]
    fn the_pivot_counts_cleaned_parts() {
        for (text, pivot) in [("a/b/./c", 2), ("./a/b", 0), ("a/../b/./c", 1), ("a/b", 0), ("/./a", 0)] {
            assert_eq!(Pattern::new(text).pivot, pivot, "{text}");
        }
        assert_eq!(Pattern::new("a/./../b").pivot, 0, "what is behind the pivot is never cut");
    }
}
