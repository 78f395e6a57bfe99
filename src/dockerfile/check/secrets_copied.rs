//! secrets-copied

use super::paths::{base_name, context_sources};
use super::subject::Subject;
use crate::diag::Diagnostic;
use crate::dockerfile::ast::Kind;

/// COPY or ADD names a file that holds a secret by convention.
pub fn find(subject: &Subject<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for instruction in &subject.file.instructions {
        let Kind::Copy(copy) = &instruction.kind else { continue };
        for source in context_sources(copy).filter(|source| is_secret(&source.value)) {
            found.push(
                subject
                    .finding(
                        format!("`{}` looks like a secret, and the image gives it to everyone", source.value),
                        source.span,
                    )
                    .help("mount it for the step that needs it: RUN --mount=type=secret,id=NAME")
                    .help("and list it in .dockerignore"),
            );
        }
    }
    found
}

/// Files and directories that hold secrets.
const SECRET: [&str; 14] = [
    ".env",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".netrc",
    ".git-credentials",
    ".ssh",
    ".aws",
    ".gnupg",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".vault-token",
];

/// Ends of paths that hold secrets.
const ENDS: [&str; 3] = [".docker/config.json", ".kube/config", ".aws/credentials"];

/// Words that tell a certificate or an example from a key.
const HARMLESS: [&str; 8] = ["ca", "cert", "chain", "public", "pub", "example", "sample", "template"];

fn is_secret(path: &str) -> bool {
    let name = base_name(path).to_lowercase();
    let has = |words: &[&str]| name.split(['.', '-', '_']).any(|part| words.iter().any(|word| part.contains(word)));
    let is_key = [".pem", ".key", ".p12", ".pfx"].iter().any(|end| name.ends_with(end));
    let is_env = name.starts_with(".env.") && !has(&["example", "sample", "template", "dist", "defaults"]);
    SECRET.contains(&name.as_str())
        || is_env
        || (is_key && !has(&HARMLESS))
        || ENDS.iter().any(|end| path.trim_end_matches('/').ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::is_secret;

    #[test]
    fn keys_are_told_from_certificates_and_examples() {
        for secret in
            [".env", "app/.env.production", "keys/id_rsa", "server.pem", "tls.key", "~/.aws/credentials", ".ssh/"]
        {
            assert!(is_secret(secret), "{secret}");
        }
        for harmless in
            [".env.example", "id_rsa.pub", "ca.pem", "fullchain.pem", "cert.pem", "env", "key", "monkey.json"]
        {
            assert!(!is_secret(harmless), "{harmless}");
        }
    }
}
