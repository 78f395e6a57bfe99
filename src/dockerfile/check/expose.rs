//! Forms of EXPOSE.

use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::{Kind, Word};

/// Words of every EXPOSE that are no variables.
fn words<'s>(subject: &'s Subject<'_>) -> impl Iterator<Item = &'s Word> {
    subject
        .file
        .instructions
        .iter()
        .filter_map(|i| match &i.kind {
            Kind::Expose(words) => Some(words),
            _ => None,
        })
        .flatten()
        .filter(|word| !word.value.contains('$'))
}

/// ExposeProtoCasing
pub fn expose_proto_casing(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let upper = words(subject)
        .filter(|word| word.value.rsplit_once('/').is_some_and(|(_, proto)| proto != proto.to_ascii_lowercase()));
    upper
        .map(|word| {
            subject
                .finding(format!("the protocol in `{}` should be lowercase", word.value), word.span)
                .help(format!("write {}", word.value.to_ascii_lowercase()))
                .fix(word.span, word.value.to_ascii_lowercase())
        })
        .collect()
}

/// ExposeInvalidFormat
pub fn expose_invalid_format(subject: &Subject<'_>) -> Vec<Diagnostic> {
    words(subject)
        .filter(|word| word.value.contains(':'))
        .map(|word| {
            let port = word.value.rsplit(':').next().unwrap_or_default();
            subject
                .finding(format!("`{}` names more than the container's port", word.value), word.span)
                .note("addresses and host ports are chosen when a container is started")
                .help(format!("write {port}"))
        })
        .collect()
}
