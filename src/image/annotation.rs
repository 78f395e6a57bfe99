//! Annotations that a user asks for (OCI image-spec, "Annotations"): on which document of a result they go.

use std::collections::BTreeMap;

/// Which document carries an annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The manifest of an image.
    Manifest,
    /// The index of several.
    Index,
}

/// An annotation and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// On which document.
    pub level: Level,
    /// `os/arch[/variant]`: on the manifests of that platform alone.
    pub platform: Option<String>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What may stand before the key.
const LEVELS: [(&str, Option<Level>); 4] = [
    ("manifest", Some(Level::Manifest)),
    ("index", Some(Level::Index)),
    ("manifest-descriptor", None),
    ("index-descriptor", None),
];

impl Annotation {
    /// Reads `KEY=VALUE` or `LEVEL[PLATFORM],LEVEL…:KEY=VALUE`, as buildx has them: one annotation for each level, the
    /// manifest's if none is named.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn parse(text: &str) -> Result<Vec<Annotation>, String> {
        let (left, value) = text.split_once('=').ok_or("expected KEY=VALUE or index:KEY=VALUE")?;
        let (places, key) = match left.rsplit_once(':') {
            Some((places, key)) => (places.split(',').map(place).collect::<Result<Vec<_>, _>>()?, key),
            None => (vec![(Level::Manifest, None)], left),
        };
        places.into_iter().map(|(level, platform)| Annotation::new(level, platform, key, value)).collect()
    }

    /// Reads the key of an exporter's option, `annotation[-LEVEL][[PLATFORM]].KEY`; `None`: it is none of an annotation.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn option(name: &str, value: &str) -> Option<Result<Annotation, String>> {
        let rest = name.strip_prefix("annotation")?;
        let (head, key) = match rest.find('[') {
            // A platform holds no dots, but a key may hold brackets.
            Some(at) if !rest[..at].contains('.') => {
                let end = at + rest[at..].find(']')?;
                (&rest[..=end], rest[end + 1..].strip_prefix('.')?)
            }
            _ => rest.split_once('.')?,
        };
        let head = match head.strip_prefix('-') {
            Some(level) => level.to_owned(),
            None => format!("manifest{head}"),
        };
        Some(place(&head).and_then(|(level, platform)| Annotation::new(level, platform, key, value)))
    }

    fn new(level: Level, platform: Option<String>, key: &str, value: &str) -> Result<Annotation, String> {
        if key.is_empty() || key.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("'{}' is no key of an annotation", key.escape_debug()));
        }
        if level == Level::Index && platform.is_some() {
            return Err("an index has no platform; only the annotations of manifests can name one".into());
        }
        Ok(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() })
    }

    /// Whether it goes on the manifest of an image for `platform` (`os/arch[/variant]`).
    pub fn is_for(&self, platform: &str) -> bool {
        let rest = |wanted: &String| platform.strip_prefix(wanted.as_str()).map(str::to_owned);
        match &self.platform {
            None => true,
            Some(wanted) => rest(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

/// `manifest`, `manifest[linux/amd64]`, `index`.
fn place(text: &str) -> Result<(Level, Option<String>), String> {
    let (name, platform) = match text.split_once('[') {
        Some((name, rest)) => {
            let platform = rest.strip_suffix(']').ok_or_else(|| format!("'{text}' lacks its closing bracket"))?;
            if !(1..=2).contains(&platform.matches('/').count()) || platform.split('/').any(str::is_empty) {
                return Err(format!("'{platform}' is no platform, as linux/amd64 is one"));
            }
            (name, Some(platform.to_owned()))
        }
        None => (text, None),
    };
    match LEVELS.iter().find(|(known, _)| *known == name) {
        Some((_, Some(level))) => Ok((*level, platform)),
        Some((known, None)) => Err(format!("annotations of a {} are not supported", known.replace('-', "'s "))),
        None => Err(format!("'{name}' carries no annotations; manifest and index do")),
    }
}

/// The annotations of `all` that go on the manifest of an image for `platform`; later ones win.
pub fn of_manifest<'a>(all: impl IntoIterator<Item = &'a Annotation>, platform: &str) -> BTreeMap<String, String> {
    let fitting = all.into_iter().filter(|a| a.level == Level::Manifest && a.is_for(platform));
    fitting.map(|a| (a.key.clone(), a.value.clone())).collect()
}

/// The annotations of `all` that go on an index; later ones win.
pub fn of_index<'a>(all: impl IntoIterator<Item = &'a Annotation>) -> BTreeMap<String, String> {
    let fitting = all.into_iter().filter(|a| a.level == Level::Index);
    fitting.map(|a| (a.key.clone(), a.value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotation(level: Level, platform: Option<&str>, key: &str, value: &str) -> Annotation {
        Annotation { level, platform: platform.map(str::to_owned), key: key.into(), value: value.into() }
    }

    #[test]
    fn levels_and_platforms_stand_before_the_key() {
        use Level::{Index, Manifest};
        let cases = [
            ("a=b", vec![annotation(Manifest, None, "a", "b")]),
            ("org.x=a:b=c", vec![annotation(Manifest, None, "org.x", "a:b=c")]),
            ("index:a=", vec![annotation(Index, None, "a", "")]),
            (
                "index,manifest[linux/arm64]:a=b",
                vec![annotation(Index, None, "a", "b"), annotation(Manifest, Some("linux/arm64"), "a", "b")],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(Annotation::parse(text), Ok(expected), "{text}");
        }
        for bad in
            ["a", "=b", "a b=c", "idnex:a=b", "index[linux/amd64]:a=b", "manifest[linux]:a=b", "manifest[x/y:a=b"]
        {
            assert!(Annotation::parse(bad).is_err(), "{bad}");
        }
        assert!(Annotation::parse("index-descriptor:a=b").unwrap_err().contains("index's descriptor"));
    }

    #[test]
    fn options_of_exporters_say_the_same_with_dots() {
        use Level::{Index, Manifest};
        let cases = [
            ("annotation.org.x", annotation(Manifest, None, "org.x", "v")),
            ("annotation.x[1]", annotation(Manifest, None, "x[1]", "v")),
            ("annotation[linux/amd64].x", annotation(Manifest, Some("linux/amd64"), "x", "v")),
            ("annotation-index.x", annotation(Index, None, "x", "v")),
            ("annotation-manifest[linux/arm/v7].x.y", annotation(Manifest, Some("linux/arm/v7"), "x.y", "v")),
        ];
        for (name, expected) in cases {
            assert_eq!(Annotation::option(name, "v"), Some(Ok(expected)), "{name}");
        }
        assert_eq!(Annotation::option("annotations", "v"), None);
        assert_eq!(Annotation::option("dest", "v"), None);
        assert!(Annotation::option("annotation-indx.x", "v").unwrap().is_err());
    }

    #[test]
    fn a_platform_holds_for_its_variants() {
        let arm = annotation(Level::Manifest, Some("linux/arm"), "a", "b");
        for (platform, holds) in [("linux/arm", true), ("linux/arm/v7", true), ("linux/arm64", false)] {
            assert_eq!(arm.is_for(platform), holds, "{platform}");
            assert_eq!(of_manifest([&arm], platform).len(), usize::from(holds));
        }
    }
}
