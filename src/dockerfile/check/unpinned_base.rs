//! unpinned-base

use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::{Kind, Word};
use crate::dockerfile::lower::stages;

/// FROM or `COPY --from` names an image without a tag, or with `latest`.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut images: Vec<&Word> = Vec::new();
    for (index, stage) in subject.stages.iter().enumerate() {
        if subject.parent(index).is_none() && stage.from.image.value != "scratch" {
            images.push(&stage.from.image);
        }
        for instruction in stage.body {
            let Kind::Copy(copy) = &instruction.kind else { continue };
            let from =
                copy.flags.iter().filter(|flag| flag.name.value == "from").filter_map(|flag| flag.value.as_ref());
            images.extend(from.filter(|word| stages::by_reference(&subject.stages, index, &word.value).is_none()));
        }
    }
    let is_context = |name: &str| subject.options.contexts.iter().any(|context| context.name == name);
    let loose = images.into_iter().filter(|image| is_loose(&image.value) && !is_context(&image.value));
    loose
        .map(|image| {
            let name = image.value.strip_suffix(":latest").unwrap_or(&image.value);
            subject
                .finding(format!("what `{}` names changes with time", image.value), image.span)
                .help(format!("name a version, {name}:VERSION, or a digest, {name}@sha256:…"))
        })
        .collect()
}

fn is_loose(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    !image.contains(['$', '@']) && last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}
