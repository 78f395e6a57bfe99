//! Functions that expressions may call: those of buildx that depend on their arguments alone.

mod arguments;
mod collections;
mod encoding;
mod format;
mod numbers;
mod text;

pub use arguments::Function;
pub use collections::set;

/// The function of that name.
pub fn find(name: &str) -> Option<Function> {
    all().find(|function| function.name == name)
}

/// All of them.
pub fn all() -> impl Iterator<Item = Function> {
    let tables = [text::FUNCTIONS, collections::FUNCTIONS, numbers::FUNCTIONS, encoding::FUNCTIONS, format::FUNCTIONS];
    tables.into_iter().flatten().copied()
}

/// Names that the evaluator itself knows.
pub const FORMS: [&str; 3] = ["can", "try", "convert"];

/// Why a function of buildx is not here, if it is one of those.
pub fn refused(name: &str) -> Option<&'static str> {
    match name {
        "timestamp" => Some("what depends on the clock is built anew each time; give the time as a variable"),
        "uuidv4" | "bcrypt" => Some("what is random is built anew each time; give it as a variable"),
        "md5" | "sha1" | "uuidv5" => Some("rbuild has no broken hash functions; sha256 and sha512 are there"),
        "rsadecrypt" => Some("a decrypted text would stand in arguments and labels; use a secret"),
        "cidrhost" | "cidrnetmask" | "cidrsubnet" | "cidrsubnets" => Some("rbuild does not reckon with networks"),
        "formatdate" | "timeadd" => Some("rbuild does not reckon with times; give the time as a variable"),
        _ => None,
    }
}
