//! `FROM --platform` and the platform of base images.

use super::subject::Subject;
use crate::diag::{Diagnostic, Span};
use crate::image::Platform;

/// RedundantTargetPlatform
pub fn redundant_target_platform(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let flags = subject.stages.iter().filter_map(|stage| stage.from.platform.as_ref());
    flags
        .filter(|flag| matches!(flag.value.as_str(), "$TARGETPLATFORM" | "${TARGETPLATFORM}"))
        .map(|flag| {
            let message = format!("--platform={} is what FROM does without it", flag.value);
            let finding = subject.finding(message, flag.span).help("remove the flag");
            match flag_with_blanks(subject, flag.span) {
                Some(span) => finding.fix(span, ""),
                None => finding,
            }
        })
        .collect()
}

/// The flag whose value stands at `value`, and the blanks after it.
fn flag_with_blanks(subject: &Subject<'_>, value: Span) -> Option<Span> {
    let text = subject.file.source.text();
    let before = text.get(..value.start)?;
    let start = before.len() - "--platform=".len();
    let after = text.get(value.end..)?;
    let blanks = after.len() - after.trim_start_matches([' ', '\t']).len();
    (before.ends_with("--platform=") && blanks > 0).then(|| Span::new(start..value.end + blanks))
}

/// FromPlatformFlagConstDisallowed. A stage named after the platform says that it is meant.
pub fn from_platform_flag_const_disallowed(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for stage in &subject.stages {
        let Some(flag) = stage.from.platform.as_ref().filter(|flag| !flag.value.contains('$')) else { continue };
        let named = Platform::parse(&flag.value, &subject.options.build_platform).is_some_and(|platform| {
            stage.name.as_deref().is_some_and(|name| name.contains(&platform.os) || name.contains(&platform.arch))
        });
        if !named {
            found.push(
                subject
                    .finding(format!("the platform of this stage is always `{}`", flag.value), flag.span)
                    .help("use $BUILDPLATFORM or a global ARG, or name the stage after the platform"),
            );
        }
    }
    found
}

/// InvalidBaseImagePlatform
pub fn invalid_base_image_platform(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, stage) in subject.stages.iter().enumerate() {
        let word = &stage.from.image;
        if subject.parent(index).is_some() || word.value.contains('$') || word.value == "scratch" {
            continue;
        }
        let Some(wanted) = subject.platform(index) else { continue };
        let Ok(image) = subject.images.find(&word.value, &wanted) else { continue };
        if image.config.os.is_empty() || image.config.architecture.is_empty() {
            continue;
        }
        let has = image.config.for_platform();
        if (&has.os, &has.arch) != (&wanted.os, &wanted.arch) {
            let message = format!("base image `{}` is for {has}, and {wanted} is wanted", word.value);
            found.push(subject.finding(message, word.span).help(format!("use an image for {wanted}")));
        }
    }
    found
}
