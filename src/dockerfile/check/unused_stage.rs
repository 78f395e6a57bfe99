//! unused-stage

use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::{Kind, Word};
use crate::dockerfile::lower::stages;

/// A stage that no other uses and that is not the one built.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let count = subject.stages.len();
    let mut used = vec![false; count];
    used[count - 1] = true;
    if let Some(target) = &subject.options.target
        && let Some(index) = stages::by_reference(&subject.stages, count, target)
    {
        used[index] = true;
    }
    for (index, stage) in subject.stages.iter().enumerate() {
        if stage.from.image.value.contains('$') {
            // It may name any stage.
            return Vec::new();
        }
        let mut mark = |found: Option<usize>| found.into_iter().for_each(|found| used[found] = true);
        mark(subject.parent(index));
        for reference in stage.body.iter().flat_map(|i| references(&i.kind)) {
            if reference.contains('$') {
                return Vec::new();
            }
            mark(stages::by_reference(&subject.stages, index, &reference));
        }
    }
    let unused = subject.stages.iter().enumerate().filter(|(index, _)| !used[*index]);
    unused
        .map(|(index, stage)| {
            let span = stage.from.name.as_ref().map_or(stage.from.image.span, |name| name.span);
            let finding = subject.finding(format!("no other stage uses `{}`", stage.title(index)), span);
            match &stage.name {
                Some(name) => finding.help(format!("remove it, unless it is built by itself: --target {name}")),
                None => finding.help("remove it, or give it a name: FROM … AS NAME"),
            }
        })
        .collect()
}

/// Stages or images that `--from` and `RUN --mount=from` name.
fn references(kind: &Kind) -> Vec<String> {
    let value = |word: &Word| word.value.clone();
    match kind {
        Kind::Copy(copy) => {
            copy.flags.iter().filter(|f| f.name.value == "from").filter_map(|f| f.value.as_ref().map(value)).collect()
        }
        Kind::Run(run) => {
            let mounts =
                run.flags.iter().filter(|flag| flag.name.value == "mount").filter_map(|flag| flag.value.as_ref());
            mounts
                .flat_map(|mount| mount.value.split(','))
                .filter_map(|field| field.strip_prefix("from=").map(str::to_owned))
                .collect()
        }
        Kind::Onbuild { instruction, .. } => references(&instruction.kind),
        _ => Vec::new(),
    }
}
