//! `--provenance`, `--sbom` and `--attest`, as buildx has them.

use crate::attest::{Mode, Wanted};
use crate::base::text;
use crate::diag::suggest;

/// One thing that is to be said of a result, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attest {
    /// How it came about; `None`: not to be told.
    Provenance(Option<Mode>),
    /// What is in it.
    Sbom(bool),
}

impl Attest {
    /// Adds it to what is wanted so far.
    pub fn apply(self, wanted: &mut Wanted) {
        match self {
            Attest::Provenance(mode) => wanted.provenance = mode,
            Attest::Sbom(sbom) => wanted.sbom = sbom,
        }
    }
}

/// For clap: `true`, `false`, `min`, `max` or `mode=min|max`.
pub fn provenance(text: &str) -> Result<Attest, String> {
    let mode = match text.strip_prefix("mode=").unwrap_or(text) {
        "min" | "true" | "1" => Some(Mode::Min),
        "max" => Some(Mode::Max),
        "false" | "0" => None,
        other => return Err(format!("'{other}' is no mode of provenance (min, max, false)")),
    };
    Ok(Attest::Provenance(mode))
}

/// For clap: `true` or `false`.
pub fn sbom(text: &str) -> Result<Attest, String> {
    match text {
        "true" | "1" => Ok(Attest::Sbom(true)),
        "false" | "0" => Ok(Attest::Sbom(false)),
        other => Err(format!("'{other}' is neither true nor false; rbuild reads package databases itself")),
    }
}

/// For clap: `type=provenance[,mode=min|max]` or `type=sbom`, with `disabled=true` to take it back.
pub fn attest(list: &str) -> Result<Attest, String> {
    const KEYS: [&str; 3] = ["type", "mode", "disabled"];
    let (mut kind, mut mode, mut disabled) = (None, None, false);
    for (key, value) in text::pairs(list)? {
        let value = value.ok_or_else(|| format!("'{key}' needs a value, as in {key}=…"))?;
        match key.as_str() {
            "type" => kind = Some(value),
            "mode" => mode = Some(value),
            "disabled" => disabled = matches!(value.as_str(), "true" | "1"),
            other => return Err(unknown("key", other, &KEYS)),
        }
    }
    match (kind.as_deref(), mode.as_deref()) {
        (Some("provenance"), _) if disabled => Ok(Attest::Provenance(None)),
        (Some("provenance"), mode) => provenance(mode.unwrap_or("min")),
        (Some("sbom"), Some(_)) => Err("'mode' is for type=provenance".into()),
        (Some("sbom"), None) => Ok(Attest::Sbom(!disabled)),
        (Some(other), _) => Err(unknown("type", other, &["provenance", "sbom"])),
        (None, _) => Err("an attestation needs a type: type=provenance or type=sbom".into()),
    }
}

fn unknown(what: &str, word: &str, known: &[&'static str]) -> String {
    match suggest::nearest(word, known.iter().copied()) {
        Some(near) => format!("unknown {what} '{word}'; did you mean '{near}'?"),
        None => format!("unknown {what} '{word}' ({})", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_the_same_in_several_ways() {
        for (text, expected) in
            [("true", Some(Mode::Min)), ("max", Some(Mode::Max)), ("mode=max", Some(Mode::Max)), ("false", None)]
        {
            assert_eq!(provenance(text), Ok(Attest::Provenance(expected)), "{text}");
        }
        for (text, expected) in [
            ("type=provenance", Attest::Provenance(Some(Mode::Min))),
            ("type=provenance,mode=max", Attest::Provenance(Some(Mode::Max))),
            ("type=provenance,disabled=true", Attest::Provenance(None)),
            ("type=sbom", Attest::Sbom(true)),
        ] {
            assert_eq!(attest(text), Ok(expected), "{text}");
        }
        for (bad, reason) in [
            ("type=provnance", "did you mean 'provenance'?"),
            ("type=sbom,mode=max", "for type=provenance"),
            ("mode=max", "needs a type"),
            ("type=provenance,mode=most", "no mode"),
            ("type=sbom,generator=x", "unknown key"),
        ] {
            assert!(attest(bad).unwrap_err().contains(reason), "{bad}");
        }
        assert!(sbom("docker/scanner").is_err());
    }
}
