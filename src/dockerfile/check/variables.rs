//! ARG and ENV: what is used without being set, and what should not be in them.

use super::subject::Subject;
use crate::diag::suggest::nearest;
use crate::diag::{Diagnostic, Span};
use crate::dockerfile::ast::{Kind, Word};
use crate::dockerfile::expand::{Quotes, expand};
use crate::dockerfile::lower::scope::{Args, automatic};
use crate::dockerfile::lower::walk::unset_variables;
use crate::image::reference::Reference;
use std::str::FromStr;

/// UndefinedVar. Where the base image is not there its variables are unknown, and only a likely slip is told.
pub fn undefined_var(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut told: Vec<(Span, String)> = Vec::new();
    let mut found = Vec::new();
    for unset in unset_variables(subject.file, subject.options, subject.images) {
        let near = nearest(&unset.name, unset.known.iter().map(String::as_str));
        let key = (unset.span, unset.name.clone());
        if (near.is_none() && !unset.certain) || told.contains(&key) {
            continue;
        }
        told.push(key);
        let finding = subject.finding(format!("variable '${}' is not set here", unset.name), unset.span);
        found.push(match near {
            Some(near) => finding.help(format!("did you mean ${near}?")),
            None => finding.help(format!("declare it: ARG {}", unset.name)),
        });
    }
    found
}

/// The global ARGs with their defaults, and what is automatic.
fn globals(subject: &Subject<'_>, with_build_args: bool) -> Args {
    let escape = escape(subject);
    let mut args = automatic(subject.options, "default");
    for instruction in subject.head {
        let Kind::Arg(list) = &instruction.kind else { continue };
        for (name, default) in list {
            let given = subject.options.build_args.get(&name.value).filter(|_| with_build_args).cloned();
            let value = given.or_else(|| {
                let lookup = |name: &str| args.value(name).map(str::to_owned);
                expand(&default.as_ref()?.value, escape, Quotes::Remove, &lookup).ok().map(|e| e.text)
            });
            // A bare ARG of an automatic name keeps its value.
            if value.is_some() || !args.declared(&name.value) {
                args.declare(&name.value, value);
            }
        }
    }
    args
}

fn escape(subject: &Subject<'_>) -> char {
    subject.file.directives.escape.as_ref().map_or('\\', |escape| escape.value)
}

/// UndefinedArgInFrom
pub fn undefined_arg_in_from(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let globals = globals(subject, true);
    let mut found = Vec::new();
    let words = subject.stages.iter().flat_map(|stage| stage.from.platform.iter().chain([&stage.from.image]));
    for word in words {
        let lookup = |name: &str| globals.value(name).map(str::to_owned);
        let Ok(expanded) = expand(&word.value, escape(subject), Quotes::Remove, &lookup) else { continue };
        for name in expanded.unset.iter().filter(|name| !globals.declared(name)) {
            let finding = subject
                .finding(format!("`{name}` is not declared before the first FROM"), word.span)
                .note("FROM sees the ARGs before the first FROM and the automatic platform ARGs");
            found.push(match nearest(name, globals.iter().map(|(known, _)| known)) {
                Some(near) => finding.help(format!("did you mean ${near}?")),
                None => finding.help(format!("put ARG {name}=DEFAULT before the first FROM")),
            });
        }
    }
    found
}

/// InvalidDefaultArgInFrom
pub fn invalid_default_arg_in_from(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let globals = globals(subject, false);
    let mut found = Vec::new();
    for Word { value, span } in subject.stages.iter().map(|stage| &stage.from.image) {
        let lookup = |name: &str| globals.value(name).map(str::to_owned);
        let Ok(expanded) = expand(value, escape(subject), Quotes::Remove, &lookup) else { continue };
        // A name that nobody declares is UndefinedArgInFrom's.
        let all_declared = expanded.unset.iter().all(|name| globals.declared(name));
        if value.contains('$') && all_declared && Reference::from_str(&expanded.text).is_err() {
            let message = format!("without build arguments `{value}` is `{}`, which is no image name", expanded.text);
            found.push(
                subject
                    .finding(message, *span)
                    .help("give the ARG a default, here or before the first FROM: ${NAME:-default}"),
            );
        }
    }
    found
}

/// Words of a name that mean something to be kept secret.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words of a name that say it is about a secret but not the secret itself.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// SecretsUsedInArgOrEnv
pub fn secrets_used_in_arg_or_env(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for instruction in &subject.file.instructions {
        let names: Vec<&Word> = match &instruction.kind {
            Kind::Arg(args) => args.iter().map(|(name, _)| name).collect(),
            Kind::Env { pairs, .. } => pairs.iter().map(|pair| &pair.key).collect(),
            _ => continue,
        };
        for name in names.into_iter().filter(|name| is_secret(&name.value)) {
            let instruction = instruction.name.value.to_uppercase();
            found.push(
                subject
                    .finding(format!("{instruction} `{}` looks like a secret", name.value), name.span)
                    .note("its value can be read from the image by everyone who has it")
                    .help("mount it for the step that needs it: RUN --mount=type=secret,id=NAME"),
            );
        }
    }
    found
}

/// Whether a variable of this name is likely to hold a secret.
pub fn is_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn secrets_are_told_by_whole_words() {
        for secret in ["DB_PASSWORD", "token", "AWS_SECRET_ACCESS_KEY", "Auth", "GIT_CREDENTIALS"] {
            assert!(is_secret(secret), "{secret}");
        }
        for harmless in ["MONKEY", "KEYBOARD", "PUBLIC_KEY", "TOKEN_FILE", "KEY_VERSION", "AUTHOR", ""] {
            assert!(!is_secret(harmless), "{harmless}");
        }
    }
}
