//! What comes of a case.

use std::fmt;

/// What a build gives, as text: the tree and the configuration, or why it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome(String);

const FAILS: &str = "fails: ";

impl Outcome {
    /// As a case's file holds it.
    pub fn read(text: &str) -> Outcome {
        Outcome(text.to_owned())
    }

    /// Whether there is no image.
    pub fn is_failure(&self) -> bool {
        self.0.starts_with(FAILS)
    }

    /// Why there is none.
    pub fn failure(reasons: &[String]) -> Outcome {
        let lines: Vec<String> = reasons.iter().map(|reason| format!("{FAILS}{reason}\n")).collect();
        Outcome(lines.concat())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
