//! Build checks: BuildKit's linter rules under its names, and rbuild's own (in kebab-case).
//!
//! A rule is a record in [`RULES`] and a function from the [`Subject`] to findings. What is skipped, what counts as an
//! error and which experimental rules run is said by `# check=` directives ([`config`]): at the top of the file for
//! all of it, above an instruction for that one.

mod add_instead_of_copy;
mod cache_mount_missing;
mod cache_order;
mod command;
mod config;
mod context;
mod expose;
mod metadata_only_run;
mod names;
mod package_lists_left;
mod packages;
mod paths;
mod platform;
mod removed_too_late;
mod secrets_copied;
mod shell;
mod style;
mod subject;
#[cfg(test)]
mod tests;
mod unpinned_base;
mod unpinned_packages;
mod unused_arg;
mod unused_stage;
mod variables;

use super::ast::Dockerfile;
use super::ignore::Ignore;
use super::lower::{Images, Options};
use crate::diag::{Diagnostic, Severity};
use config::Config;
use subject::{Memo, Subject};

pub use variables::is_secret;

/// How much is looked for. `# check=experimental=` names further rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What is worth telling with every build: BuildKit's rules, and near-certain mistakes.
    Build,
    /// Also what who asks for a check wants to know.
    Check,
    /// Also what is a matter of taste, and experimental.
    All,
}

/// One rule.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Its name, used as the diagnostic's code and in `# check=skip=NAME`.
    pub name: &'static str,
    /// One sentence without full stop.
    pub description: &'static str,
    /// The least depth at which it runs unasked.
    pub depth: Depth,
    run: fn(&Subject<'_>) -> Vec<Diagnostic>,
}

impl Rule {
    /// The page about it.
    pub fn page(&self) -> String {
        format!("docs/checks/{}.md", self.name)
    }
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rule").field("name", &self.name).finish_non_exhaustive()
    }
}

const fn rule(name: &'static str, description: &'static str, run: fn(&Subject<'_>) -> Vec<Diagnostic>) -> Rule {
    Rule { name, description, depth: Depth::Build, run }
}

/// A rule that BuildKit does not have.
const fn own(
    name: &'static str,
    description: &'static str,
    depth: Depth,
    run: fn(&Subject<'_>) -> Vec<Diagnostic>,
) -> Rule {
    Rule { name, description, depth, run }
}

/// Every rule.
pub static RULES: [Rule; 34] = [
    rule("StageNameCasing", "stage names should be lowercase", names::stage_name_casing),
    rule("FromAsCasing", "the AS keyword should have the casing of FROM", style::from_as_casing),
    rule("NoEmptyContinuation", "empty continuation lines will become errors", style::no_empty_continuation),
    rule(
        "ConsistentInstructionCasing",
        "all instructions should have one casing",
        style::consistent_instruction_casing,
    ),
    rule("DuplicateStageName", "stage names should be unique", names::duplicate_stage_name),
    rule("ReservedStageName", "reserved words should not be stage names", names::reserved_stage_name),
    rule("JSONArgsRecommended", "CMD and ENTRYPOINT should be in JSON form", command::json_args_recommended),
    rule("MaintainerDeprecated", "MAINTAINER is deprecated in favour of a label", style::maintainer_deprecated),
    rule("UndefinedArgInFrom", "FROM should use only declared ARGs", variables::undefined_arg_in_from),
    rule("WorkdirRelativePath", "a relative WORKDIR should follow an absolute one", context::workdir_relative_path),
    rule("UndefinedVar", "variables should be defined before use", variables::undefined_var),
    rule(
        "MultipleInstructionsDisallowed",
        "only the last CMD, ENTRYPOINT and HEALTHCHECK of a stage has effect",
        command::multiple_instructions_disallowed,
    ),
    rule("LegacyKeyValueFormat", "ENV and LABEL should be written with '='", style::legacy_key_value_format),
    rule(
        "InvalidBaseImagePlatform",
        "the base image should be of the platform that is built for",
        platform::invalid_base_image_platform,
    ),
    rule(
        "RedundantTargetPlatform",
        "--platform=$TARGETPLATFORM is what FROM does anyway",
        platform::redundant_target_platform,
    ),
    rule(
        "SecretsUsedInArgOrEnv",
        "secrets should not be in ARG or ENV, which the image tells everyone",
        variables::secrets_used_in_arg_or_env,
    ),
    rule(
        "InvalidDefaultArgInFrom",
        "FROM should name an image also when no build argument is given",
        variables::invalid_default_arg_in_from,
    ),
    rule(
        "FromPlatformFlagConstDisallowed",
        "FROM --platform should not be a constant",
        platform::from_platform_flag_const_disallowed,
    ),
    rule("CopyIgnoredFile", "COPY and ADD should not name files that are ignored", context::copy_ignored_file),
    Rule {
        depth: Depth::All,
        ..rule(
            "InvalidDefinitionDescription",
            "a comment above a stage or ARG should begin with its name",
            names::invalid_definition_description,
        )
    },
    rule("ExposeProtoCasing", "the protocol of EXPOSE should be lowercase", expose::expose_proto_casing),
    rule("ExposeInvalidFormat", "EXPOSE should not name an address or host port", expose::expose_invalid_format),
    rule(
        "heredoc-failures-ignored",
        "a RUN heredoc of several commands should stop at the first that fails",
        command::heredoc_failures_ignored,
    ),
    own(
        "secrets-copied",
        "files that hold secrets should not be copied into an image",
        Depth::Build,
        secrets_copied::find,
    ),
    own(
        "cache-order",
        "dependencies should be installed before all of the context is copied",
        Depth::Check,
        cache_order::find,
    ),
    own(
        "package-lists-left",
        "lists and downloads of a package manager should not stay in a layer",
        Depth::Check,
        package_lists_left::find,
    ),
    own(
        "removed-too-late",
        "what a layer holds should be removed in the same layer",
        Depth::Check,
        removed_too_late::find,
    ),
    own("metadata-only-run", "modes and owners should be set by the COPY", Depth::Check, metadata_only_run::find),
    own(
        "add-instead-of-copy",
        "ADD should be used only for what COPY cannot do",
        Depth::Check,
        add_instead_of_copy::find,
    ),
    own("unpinned-base", "base images should be named with a version", Depth::Check, unpinned_base::find),
    own("unused-stage", "every stage should be used", Depth::Check, unused_stage::find),
    own("unused-arg", "every ARG should be used", Depth::Check, unused_arg::find),
    own("unpinned-packages", "packages should be installed in a known version", Depth::All, unpinned_packages::find),
    own(
        "cache-mount-missing",
        "package managers should keep their downloads in a cache mount",
        Depth::All,
        cache_mount_missing::find,
    ),
];

/// Checks a parsed file. `ignore`: the context's ignore file, if it has one. Base images are looked up only to know
/// their platform and variables; one that is missing is no finding.
///
/// `depth`: which rules run.
///
/// Findings are warnings, or errors where the file says `# check=error=true`; they stand in the order of the file.
pub fn check(
    file: &Dockerfile,
    options: &Options,
    images: &dyn Images,
    ignore: Option<&Ignore>,
    depth: Depth,
) -> Vec<Diagnostic> {
    let (config, mut found) = Config::of(file, options);
    let images = Memo::new(images);
    let Some(subject) = Subject::new(file, options, &images, ignore) else { return found };
    for rule in RULES.iter().filter(|rule| config.runs(rule, depth)) {
        for mut finding in (rule.run)(&subject) {
            let place = finding.labels.first().map_or(0, |label| label.span.start);
            let local = subject.instruction_at(place).map(|i| config::of_comments(&i.comments)).unwrap_or_default();
            if local.skips(rule.name) {
                continue;
            }
            finding.code = rule.name.to_owned();
            if config.error || local.error {
                finding.severity = Severity::Error;
            }
            found.push(finding.note(format!("{} ({})", rule.description, rule.page())));
        }
    }
    found.sort_by_key(|finding| finding.labels.first().map_or(0, |label| label.span.start));
    found
}
