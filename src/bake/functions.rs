//! Functions that expressions may call: those of buildx that depend on their arguments alone.

mod arguments;
mod collections;
mod encoding;
mod format;
mod numbers;
mod text;
mod time;

pub use arguments::Function;
pub use collections::set;
pub use time::moment;

/// The function of that name.
pub fn find(name: &str) -> Option<Function> {
    all().find(|function| function.name == name)
}

/// All of them.
pub fn all() -> impl Iterator<Item = Function> {
    let own = [text::FUNCTIONS, collections::FUNCTIONS, numbers::FUNCTIONS];
    let tables = own.into_iter().chain([encoding::FUNCTIONS, format::FUNCTIONS, time::FUNCTIONS]);
    tables.flatten().copied()
}

/// Functions that are not of their arguments alone, and so are not among these.
pub const FORMS: [&str; 4] = ["can", "try", "convert", "timestamp"];

/// Why a function of buildx is not here, if it is one of those.
pub fn refused(name: &str) -> Option<&'static str> {
    match name {
        "uuidv4" | "bcrypt" => Some("what is random is built anew each time; give it as a variable"),
        "rsadecrypt" => Some("a decrypted text would stand in arguments and labels; use a secret"),
        "cidrhost" | "cidrnetmask" | "cidrsubnet" | "cidrsubnets" => Some("rbuild does not reckon with networks"),
        "byteslen" | "bytesslice" => Some("there are no bytes in definitions; strlen and substr count characters"),
        _ => None,
    }
}
