//! What is fuzzed: functions that take any bytes, and panic where rbuild does or where what it promises does not hold.

use rbuild::bake::{self as definitions, Surroundings, files};
use rbuild::base::{Cancel, Digest, fs};
use rbuild::diag::{Diagnostic, Source};
use rbuild::dockerfile::check::{Depth, check};
use rbuild::dockerfile::expand::{self, Quotes};
use rbuild::dockerfile::format::format;
use rbuild::dockerfile::ignore::Ignore;
use rbuild::dockerfile::lower::{BaseImage, Images, NotFound, Options};
use rbuild::dockerfile::{glob, lower, parse as parse_file, text};
use rbuild::image::{ImageConfig, ImageIndex, Manifest, Platform, Reference};
use rbuild::layer::{Index, tar_in as tar};
use std::str::FromStr;

/// A name, which is also that of its seeds, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 6] = [
    ("parse", parse),
    ("expand", expand),
    ("ignore", ignore),
    ("documents", documents),
    ("tar_in", tar_in),
    ("bake", bake),
];

/// Every image there is, of which nothing is known.
struct Any;

impl Images for Any {
    fn find(&self, reference: &str, _platform: &Platform) -> Result<BaseImage, NotFound> {
        Ok(BaseImage { reference: reference.into(), manifest: Digest::of(b""), config: ImageConfig::default() })
    }
}

/// A Dockerfile: parsed, lowered, checked and formatted. Whatever is told of it is told of a place in it, and its
/// formatted form is a formatted file.
pub fn parse(data: &[u8]) {
    let Ok(source) = text::source("Dockerfile", data) else { return };
    let (file, warnings) = match parse_file(&source) {
        Ok(parsed) => parsed,
        Err(errors) => return inside(&source, &errors),
    };
    inside(&source, &warnings);
    let options = Options::default();
    match lower(&file, &options, &Any) {
        Ok(lowered) => inside(&source, &lowered.warnings),
        Err(errors) => inside(&source, &errors),
    }
    inside(&source, &check(&file, &options, &Any, None, Depth::All));
    let formatted = format(&source).unwrap_or_else(|errors| panic!("parses, but is not formatted: {errors:?}"));
    let again = format(&Source::new("Dockerfile", formatted.as_str()));
    assert_eq!(again.ok(), Some(formatted), "formatted twice is not as formatted once");
}

fn inside(source: &Source, told: &[Diagnostic]) {
    for diagnostic in told {
        let labels = diagnostic.labels.iter().map(|label| label.span);
        for span in labels.chain(diagnostic.fixes.iter().map(|edit| edit.span)) {
            assert!(source.text().get(span.range()).is_some(), "{span:?} is no part of the text: {diagnostic:?}");
        }
    }
}

/// A text with variables.
pub fn expand(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lookup = |name: &str| name.len().is_multiple_of(2).then(|| format!("é{name}*"));
    for quotes in [Quotes::Remove, Quotes::Keep] {
        for escape in ['\\', '`'] {
            if let Err(error) = expand::expand(&text, escape, quotes, &lookup) {
                assert!(error.offset + error.len <= text.len(), "{error:?}");
            }
        }
    }
}

/// An ignore file; a pattern of COPY and a name.
pub fn ignore(data: &[u8]) {
    let (pattern, name) = data.split_at(data.len() / 2);
    let _ = glob::go_match(pattern, name);
    if let Ok(pattern) = glob::compile_moby(pattern) {
        pattern.matches(name);
    }
    if let Ok(rules) = Ignore::parse(&String::from_utf8_lossy(data)) {
        for path in [&b"a/b/c"[..], b"x.log", name] {
            rules.excluded_by(path);
            rules.may_include_below(path);
        }
    }
}

/// A definition of targets, in each form. Whatever is told of it is told of a place in it, and what it comes to can be
/// printed and put in order.
pub fn bake(data: &[u8]) {
    let surroundings = Surroundings {
        environment: [("A", "a"), ("N", "5"), ("L", "x,\"y\"")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        dotenv: files::source(".env", data.to_vec()).ok(),
        platform: "linux/amd64".to_owned(),
    };
    for name in ["x.hcl", "x.json", "x.toml", "x.yaml", "x"] {
        let Ok(source) = files::source(name, data.to_vec()) else { return };
        let mut warnings = Vec::new();
        let loaded = definitions::load(std::slice::from_ref(&source), &surroundings, &mut warnings);
        inside(&source, &warnings);
        let resolved = loaded.and_then(|config| {
            let all: Vec<String> = config.targets.keys().cloned().collect();
            let overrides = if all.is_empty() { Vec::new() } else { vec!["*.push=true".to_owned()] };
            definitions::resolve(&config, &all, &overrides, &surroundings)
        });
        match resolved {
            Ok(definition) => {
                assert_eq!(definition.order().len(), definition.targets.len());
                assert!(definition.json().is_ok());
            }
            Err(fault) if fault.source.as_ref().is_some_and(|of| of.name() == name) => inside(&source, &[*fault]),
            Err(_) => {}
        }
    }
}

/// The documents of an image, the index of a layer, a reference: what was read can be written and read again.
pub fn documents(data: &[u8]) {
    if let Ok(config) = ImageConfig::from_bytes(data) {
        assert!(ImageConfig::from_bytes(&config.to_bytes()).is_ok());
    }
    if let Ok(manifest) = Manifest::from_bytes(data) {
        assert!(Manifest::from_bytes(&manifest.to_bytes()).is_ok());
    }
    if let Ok(index) = ImageIndex::from_bytes(data) {
        assert!(ImageIndex::from_bytes(&index.to_bytes()).is_ok());
    }
    if let Ok(index) = Index::decode(data) {
        assert!(Index::decode(&index.encode()).is_ok());
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(reference) = Reference::from_str(&text) {
        let familiar = reference.familiar();
        assert!(Reference::from_str(&familiar).is_ok(), "{text} became {familiar}");
    }
}

/// An archive, as a layer and as plain files. Nothing outside of the destination is written.
pub fn tar_in(data: &[u8]) {
    let cancel = Cancel::new();
    for mode in [tar::Mode::Layer, tar::Mode::Plain] {
        let Ok(place) = tempfile::tempdir() else { return };
        let dest = place.path().join("dest");
        if std::fs::create_dir(&dest).is_err() {
            return;
        }
        let limits = tar::Limits { entries: 200, bytes: 1 << 20, depth: 16 };
        let options = tar::Options { mode, limits, ..tar::Options::plain(&cancel) };
        let _ = tar::apply(&mut &data[..], &dest, &options);
        let outside = std::fs::read_dir(place.path()).map_or(0, Iterator::count);
        assert_eq!(outside, 1, "something was written beside the destination");
        // Directories without permissions would stay behind otherwise.
        let _ = fs::remove_tree(&dest);
    }
}
