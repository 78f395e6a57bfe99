//! The difference of two texts, line by line, in the unified form that `patch` reads.

use std::fmt::Write as _;

/// Lines shown around a change.
const AROUND: usize = 3;

/// The largest table of common lines, in cells; beyond it everything between the first and the last change is shown as
/// replaced.
const TABLE_LIMIT: usize = 4 << 20;

/// A line of the result: kept, removed or added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change<'t> {
    Kept(&'t str),
    Removed(&'t str),
    Added(&'t str),
}

/// `--- name`, `+++ name` and hunks; empty where nothing differs.
pub fn unified(name: &str, old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let changes = changes(&old, &new);
    let is_change = |at: usize| !matches!(changes[at], Change::Kept(_));
    let mut out = String::new();
    // Lines of both texts before the change at hand.
    let (mut at, mut old_line, mut new_line) = (0, 0, 0);
    while let Some(first) = (at..changes.len()).find(|at| is_change(*at)) {
        if out.is_empty() {
            let _ = write!(out, "--- {name}\n+++ {name}\n");
        }
        let start = first.saturating_sub(AROUND).max(at);
        let mut end = first;
        while let Some(next) = (end..changes.len().min(end + 2 * AROUND + 1)).find(|at| is_change(*at)) {
            end = next + 1;
        }
        let end = (end + AROUND).min(changes.len());
        (old_line, new_line) = counted(&changes[at..start], old_line, new_line);
        let hunk = &changes[start..end];
        let (old_end, new_end) = counted(hunk, old_line, new_line);
        let range = |from: usize, to: usize| match to - from {
            // Before the first line of an empty range stands the line that it follows.
            0 => format!("{from},0"),
            n => format!("{},{n}", from + 1),
        };
        let _ = writeln!(out, "@@ -{} +{} @@", range(old_line, old_end), range(new_line, new_end));
        for change in hunk {
            let (mark, line) = match change {
                Change::Kept(line) => (' ', line),
                Change::Removed(line) => ('-', line),
                Change::Added(line) => ('+', line),
            };
            let _ = write!(out, "{mark}{line}");
            if !line.ends_with('\n') {
                out.push_str("\n\\ No newline at end of file\n");
            }
        }
        (at, old_line, new_line) = (end, old_end, new_end);
    }
    out
}

/// The line numbers behind some changes.
fn counted(changes: &[Change<'_>], old: usize, new: usize) -> (usize, usize) {
    let added = changes.iter().filter(|change| matches!(change, Change::Added(_))).count();
    let removed = changes.iter().filter(|change| matches!(change, Change::Removed(_))).count();
    (old + changes.len() - added, new + changes.len() - removed)
}

/// All lines of both texts: common ones at both ends, and between them as many common ones as there can be.
fn changes<'t>(old: &[&'t str], new: &[&'t str]) -> Vec<Change<'t>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    let mut changes: Vec<Change<'_>> = old[..head].iter().map(|line| Change::Kept(line)).collect();
    if (old_rest.len() + 1).saturating_mul(new_rest.len() + 1) > TABLE_LIMIT {
        changes.extend(old_rest.iter().map(|line| Change::Removed(line)));
        changes.extend(new_rest.iter().map(|line| Change::Added(line)));
    } else {
        between(old_rest, new_rest, &mut changes);
    }
    changes.extend(old[old.len() - tail..].iter().map(|line| Change::Kept(line)));
    changes
}

/// By the longest common subsequence of lines.
fn between<'t>(old: &[&'t str], new: &[&'t str], changes: &mut Vec<Change<'t>>) {
    let width = new.len() + 1;
    // `common[i * width + j]`: how many lines old[i..] and new[j..] have in common.
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            changes.push(Change::Kept(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            changes.push(Change::Removed(old[i]));
            i += 1;
        } else {
            changes.push(Change::Added(new[j]));
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::unified;

    #[test]
    fn hunks_are_as_patch_reads_them() {
        let cases = [
            ("a\n", "a\n", ""),
            ("a\nb\n", "a\nc\n", "--- f\n+++ f\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"),
            ("", "a\n", "--- f\n+++ f\n@@ -0,0 +1,1 @@\n+a\n"),
            ("a", "a\n", "--- f\n+++ f\n@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\n"),
            ("a\nb\nc\n", "a\nc\n", "--- f\n+++ f\n@@ -1,3 +1,2 @@\n a\n-b\n c\n"),
        ];
        for (old, new, want) in cases {
            assert_eq!(unified("f", old, new), want, "{old:?} {new:?}");
        }
        let old: String = (0..30).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n5\n", "\nfive\n").replace("\n25\n", "\n");
        let shown = unified("f", &old, &new);
        let hunks: Vec<&str> = shown.lines().filter(|line| line.starts_with("@@")).collect();
        assert_eq!(hunks, ["@@ -3,7 +3,7 @@", "@@ -23,7 +23,6 @@"]);
    }
}
