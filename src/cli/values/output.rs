//! `--output` and `--annotation`, as buildx has them.

use crate::base::text;
use crate::diag::suggest;
use crate::export::Packing;
use crate::image::Annotation;
use crate::pipeline::{Output, OutputKind};
use std::path::PathBuf;

/// `--annotation`: the same on each document that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotations(pub Vec<Annotation>);

/// For clap: see [`Annotation::parse`].
pub fn annotations(text: &str) -> Result<Annotations, String> {
    Annotation::parse(text).map(Annotations)
}

/// Words of `type=`.
const TYPES: [&str; 6] = ["image", "registry", "oci", "docker", "tar", "local"];
/// Keys of every type that is an image.
const OF_IMAGES: [&str; 5] = ["compression", "compression-level", "force-compression", "name", "oci-mediatypes"];
/// Keys that stand alone: `push` is `push=true`.
const FLAGS: [&str; 5] = ["push", "tar", "force-compression", "oci-mediatypes", "rewrite-timestamp"];

/// The keys that a type takes, beside `type` and annotations.
fn keys(kind: &str) -> Vec<&'static str> {
    let mut keys = vec!["rewrite-timestamp"];
    match kind {
        "image" | "registry" => keys.extend(["push"].iter().chain(&OF_IMAGES)),
        "oci" => keys.extend(["dest", "tar"].iter().chain(&OF_IMAGES)),
        "docker" => keys.extend(["dest", "tar", "name"]),
        _ => keys.push("dest"),
    }
    keys
}

/// For clap: `type=…[,KEY=VALUE]…`, or `DIR` alone (local), or `-` (a tar to standard output).
pub fn output(list: &str) -> Result<Output, String> {
    let fields: Vec<String> = text::csv(list)?.into_iter().map(|(_, field)| field).collect();
    if let [word] = fields.as_slice()
        && !word.contains('=')
    {
        let kind = if word == "-" { OutputKind::Tar } else { OutputKind::Local };
        return Ok(Output::new(kind, dest(word)));
    }
    // Keys of annotations keep their letter case; docker's own have none.
    let given: Vec<(String, Option<&str>)> = fields
        .iter()
        .map(|field| match field.split_once('=') {
            Some((key, value)) if key.starts_with("annotation") => (key.trim().to_owned(), Some(value)),
            Some((key, value)) => (key.trim().to_ascii_lowercase(), Some(value)),
            None => (field.trim().to_ascii_lowercase(), None),
        })
        .collect();
    let kind = given.iter().rev().find(|(key, _)| key == "type").and_then(|(_, value)| *value);
    let kind = kind.ok_or("an output needs a type, as in type=oci,dest=image.tar")?;
    let mut output = Output::new(form(kind)?, None);
    output.push = kind == "registry";
    let (mut encoding, mut level, mut force) = (None, None, false);
    for (key, value) in &given {
        let key = key.as_str();
        if key == "type" {
            continue;
        }
        if let Some(annotation) = Annotation::option(key, value.unwrap_or_default()) {
            if !matches!(output.kind, OutputKind::Image | OutputKind::Oci) {
                return Err(format!("type={kind} has no place for annotations; image, registry and oci do"));
            }
            output.annotations.push(annotation?);
            continue;
        }
        known(key, kind)?;
        let value = match value {
            Some(value) => *value,
            None if FLAGS.contains(&key) => "true",
            None => return Err(format!("'{key}' needs a value, as in {key}=…")),
        };
        match key {
            "dest" if value.is_empty() => return Err("'dest' is empty".into()),
            "dest" => output.dest = dest(value),
            "tar" => output.tar = flag(key, value)?,
            "push" => output.push = flag(key, value)?,
            "name" => output.names = names(value)?,
            "oci-mediatypes" => output.docker_types = !flag(key, value)?,
            "rewrite-timestamp" => output.rewrite_timestamp = flag(key, value)?,
            "compression" => encoding = Some(compression(value)?),
            "compression-level" => {
                level = Some(value.parse().map_err(|_| format!("compression-level '{value}' is no number"))?);
            }
            "force-compression" => force = flag(key, value)?,
            _ => return Err(format!("'{key}' is not supported")),
        }
    }
    if encoding.is_some() || level.is_some() || force {
        let packing = Packing { level, force, ..encoding.unwrap_or(Packing::GZIP) };
        packing.check().map_err(|reason| format!("compression-level: {reason}"))?;
        output.packing = Some(packing);
    }
    place(&output, kind)?;
    Ok(output)
}

/// `-`: standard output.
fn dest(path: &str) -> Option<PathBuf> {
    Some(PathBuf::from(path)).filter(|path| path.as_os_str() != "-")
}

fn form(kind: &str) -> Result<OutputKind, String> {
    Ok(match kind {
        "image" | "registry" => OutputKind::Image,
        "oci" => OutputKind::Oci,
        "docker" => OutputKind::Docker,
        "tar" => OutputKind::Tar,
        "local" => OutputKind::Local,
        other => return Err(unknown("output type", other, &TYPES)),
    })
}

/// Refuses a key that this type does not take.
fn known(key: &str, kind: &str) -> Result<(), String> {
    let own = keys(kind);
    if own.contains(&key) {
        return Ok(());
    }
    let others: Vec<&str> = TYPES.into_iter().filter(|other| keys(other).contains(&key)).collect();
    if others.is_empty() {
        let mut all = own;
        all.extend(["type", "annotation.KEY"]);
        return Err(unknown("key", key, &all));
    }
    let hint = match key {
        "dest" => ": an image goes into the store".to_owned(),
        _ => format!("; {} {}", others.join(", "), if others.len() == 1 { "does" } else { "do" }),
    };
    Err(format!("type={kind} takes no '{key}'{hint}"))
}

fn unknown(what: &str, word: &str, known: &[&'static str]) -> String {
    match suggest::nearest(word, known.iter().copied()) {
        Some(near) => format!("unknown {what} '{word}'; did you mean '{near}'?"),
        None => format!("unknown {what} '{word}' ({})", known.join(", ")),
    }
}

fn flag(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(format!("'{key}={other}' is neither true nor false")),
    }
}

/// `name=A`, or `"name=A,B"`.
fn names(value: &str) -> Result<Vec<String>, String> {
    let name = |text: &str| super::tag(text.trim()).map_err(|reason| format!("name '{text}': {reason}"));
    value.split(',').map(name).collect()
}

fn compression(value: &str) -> Result<Packing, String> {
    match value {
        "gzip" => Ok(Packing::GZIP),
        "zstd" => Ok(Packing::ZSTD),
        "uncompressed" => Ok(Packing::NONE),
        other => Err(unknown("compression", other, &["gzip", "zstd", "uncompressed"])),
    }
}

/// Whether there is a place for it.
fn place(output: &Output, kind: &str) -> Result<(), String> {
    if !output.tar && output.kind != OutputKind::Oci {
        return Err(format!("{kind} has no unpacked form (tar=false)"));
    }
    if output.dest.is_none() {
        match output.kind {
            OutputKind::Local => return Err("type=local needs dest=DIRECTORY".into()),
            _ if !output.tar => return Err("tar=false needs dest=DIRECTORY".into()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::encode::Encoding;

    #[test]
    fn outputs_have_a_form_and_a_place() {
        let plain = |kind, dest: Option<&str>| Output::new(kind, dest.map(PathBuf::from));
        let push = Output { push: true, ..plain(OutputKind::Image, None) };
        let cases = [
            ("out", plain(OutputKind::Local, Some("out"))),
            ("-", plain(OutputKind::Tar, None)),
            ("type=oci,dest=x.tar", plain(OutputKind::Oci, Some("x.tar"))),
            ("type=oci,dest=x,tar=false", Output { tar: false, ..plain(OutputKind::Oci, Some("x")) }),
            ("type=docker", plain(OutputKind::Docker, None)),
            ("type=tar,dest=-", plain(OutputKind::Tar, None)),
            (r#"type=local,"dest=a,b""#, plain(OutputKind::Local, Some("a,b"))),
            ("type=image", plain(OutputKind::Image, None)),
            ("type=image,push=true", push.clone()),
            ("push,type=image", push.clone()),
            ("type=registry", push.clone()),
            ("type=registry,name=a/b:1", Output { names: vec!["a/b:1".into()], ..push.clone() }),
            (r#"type=registry,"name=a,b""#, Output { names: vec!["a".into(), "b".into()], ..push.clone() }),
            ("type=image,oci-mediatypes=false", Output { docker_types: true, ..plain(OutputKind::Image, None) }),
        ];
        for (text, expected) in cases {
            assert_eq!(output(text), Ok(expected), "{text}");
        }
        for bad in ["type=local", "type=local,dest=-", "dest=x", "type=tar,dest=x,tar=false", "a,b", "type=oci,tar=0"] {
            assert!(output(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn packing_and_annotations_are_read() {
        let packing = |text: &str| output(text).unwrap().packing;
        assert_eq!(packing("type=image"), None);
        assert_eq!(packing("type=image,compression=zstd"), Some(Packing::ZSTD));
        let hard = Packing { encoding: Some(Encoding::Gzip), level: Some(9), force: true };
        assert_eq!(packing("type=oci,dest=x,compression-level=9,force-compression=true"), Some(hard));
        let annotated = output("type=oci,dest=x,annotation.Org.X=1,annotation[linux/amd64].y=2").unwrap();
        let keys: Vec<&str> = annotated.annotations.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(keys, ["Org.X", "y"]);
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_was_meant() {
        let cases = [
            ("type=imge", "did you mean 'image'?"),
            ("type=zip,dest=x", "(image, registry,"),
            ("type=oci,dset=x", "did you mean 'dest'?"),
            ("type=image,dest=x", "an image goes into the store"),
            ("type=local,dest=x,compression=gzip", "image, registry, oci do"),
            ("type=image,compression=gzp", "did you mean 'gzip'?"),
            ("type=image,compression=zstd,compression-level=23", "1 to 22"),
            ("type=image,compression=uncompressed,compression-level=1", "no compression level"),
            ("type=image,push=maybe", "neither true nor false"),
            ("type=tar,dest=x,annotation.a=b", "no place for annotations"),
            ("type=image,annotation-indx.a=b", "carries no annotations"),
            ("type=image,name=A", "lower-case"),
            ("type=image,name", "needs a value"),
        ];
        for (text, reason) in cases {
            let error = output(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
