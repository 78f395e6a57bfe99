//! `RUN --mount=type=…,key=value,…`: a line of CSV (RFC 4180 quotes), keys in any case.

use super::path;
use super::site::{Fault, Site, listed};
use super::stages::suggest;
use super::state::State;
use super::walk::Walk;
use crate::base::text;
use crate::dockerfile::ast::{Flag, Spanned, Word};
use crate::graph::{CopySource, RunMount};
use std::ops::Range;

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];

/// What the options of a mount say. Keys that its type does not have are refused before.
#[derive(Default)]
struct Options {
    target: Option<String>,
    source: Option<String>,
    from: Option<Word>,
    id: Option<String>,
    sharing: Option<String>,
    env: Option<String>,
    readonly: Option<bool>,
    required: bool,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
}

impl Walk<'_> {
    /// One `--mount`. `before`: the mounts of the same RUN that stand before it.
    pub fn mount(
        &mut self,
        state: &State,
        site: &Site<'_>,
        flag: &Flag,
        before: &[RunMount],
    ) -> Result<RunMount, Fault> {
        let word = site.flag_value(flag)?;
        let fields = fields(&word.value)
            .map_err(|reason| site.error("invalid-mount", format!("the mount can't be read: {reason}"), word.span))?;
        let kind = match fields.iter().find(|(_, key, _)| key == "type") {
            Some((range, _, Some(value))) => {
                let field = Spanned { value: value.clone(), span: site.part(word, range.clone()) };
                self.expand(state, site, &field)?.to_ascii_lowercase()
            }
            _ => "bind".into(),
        };
        if !TYPES.contains(&kind.as_str()) {
            let fault = site
                .error("unknown-mount-type", format!("`{kind}` is no type of mount"), word.span)
                .note(format!("there are {}", listed(TYPES)));
            return Err(suggest(fault, &kind, TYPES).into());
        }
        let mut options = Options::default();
        for (range, key, value) in fields {
            if key != "type" {
                let field = Spanned { value: value.unwrap_or_default(), span: site.part(word, range) };
                self.option(state, site, &kind, &key, &field, &mut options)?;
            }
        }
        self.resolve(state, site, &kind, options, before, word)
    }

    fn option(
        &mut self,
        state: &State,
        site: &Site<'_>,
        kind: &str,
        key: &str,
        field: &Word,
        options: &mut Options,
    ) -> Result<(), Fault> {
        let known: &[&str] = match kind {
            "bind" => &["target", "source", "from", "readonly", "readwrite"],
            "cache" => &["target", "id", "sharing", "from", "source", "mode", "uid", "gid", "readonly", "readwrite"],
            "tmpfs" => &["target", "size"],
            "secret" => &["id", "source", "target", "env", "required", "mode", "uid", "gid"],
            _ => &["id", "target", "required", "mode", "uid", "gid"],
        };
        let name = match key {
            "dst" | "destination" => "target",
            "src" => "source",
            "ro" => "readonly",
            "rw" => "readwrite",
            other => other,
        };
        if !known.contains(&name) {
            let fault = site
                .error("unknown-mount-option", format!("a {kind} mount has no option `{key}`"), field.span)
                .note(format!("it has {}", listed(known.iter().copied())));
            return Err(suggest(fault, key, known.iter().copied()).into());
        }
        if name == "from" {
            options.from = Some(field.clone());
            return Ok(());
        }
        let value = self.expand(state, site, field)?;
        let bad = |what: &str| -> Fault {
            site.error("invalid-mount", format!("{key}=`{value}` is not {what}"), field.span).into()
        };
        let flag = || match value.to_ascii_lowercase().as_str() {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(bad("true or false")),
        };
        match name {
            "target" => options.target = Some(value),
            "source" if kind == "secret" => options.id = Some(value),
            "source" => options.source = Some(value),
            "id" => options.id = Some(value),
            "env" => options.env = Some(value),
            "readonly" => options.readonly = Some(flag()?),
            "readwrite" => options.readonly = Some(!flag()?),
            "required" => options.required = flag()?,
            "mode" => {
                let mode = u32::from_str_radix(&value, 8).ok().filter(|mode| *mode <= 0o7777);
                options.mode = Some(mode.ok_or_else(|| bad("an octal mode"))?);
            }
            "uid" => options.uid = Some(value.parse().map_err(|_| bad("a number"))?),
            "gid" => options.gid = Some(value.parse().map_err(|_| bad("a number"))?),
            "size" => options.size = Some(text::bytes(&value).ok_or_else(|| bad("a size such as 64m"))?),
            _ => match value.to_ascii_lowercase().as_str() {
                sharing @ ("shared" | "private" | "locked") => options.sharing = Some(sharing.to_owned()),
                _ => return Err(bad("shared, private or locked")),
            },
        }
        Ok(())
    }

    fn resolve(
        &mut self,
        state: &State,
        site: &Site<'_>,
        kind: &str,
        options: Options,
        before: &[RunMount],
        word: &Word,
    ) -> Result<RunMount, Fault> {
        let written = options.target.as_deref().filter(|t| !t.is_empty());
        let target = match written {
            Some(written) => Some(path::absolute(&state.workdir(), written)),
            // Without a target these lie on the working directory.
            None if matches!(kind, "bind" | "cache" | "tmpfs") => Some(state.workdir()),
            None => None,
        };
        if target.as_deref() == Some("/") {
            return Err(if written.is_some() {
                site.error("invalid-mount", "a mount can't cover the whole root '/'", word.span).into()
            } else {
                let fault = site.error("invalid-mount", format!("a {kind} mount needs a target"), word.span);
                fault.help("add target=/PATH").into()
            });
        }
        let from = match &options.from {
            Some(from) => {
                let origin = self.origin(site, self.index, from, false)?;
                let pattern = options.source.clone().unwrap_or_else(|| "/".into());
                Some(self.source(site, self.index, from, &origin, pattern)?)
            }
            None => None,
        };
        // Bind, cache and tmpfs have one by now.
        let required_target = target.clone().unwrap_or_default();
        Ok(match kind {
            "bind" => RunMount::Bind {
                target: required_target,
                source: from.unwrap_or_else(|| CopySource::Context {
                    context: self.options.context,
                    pattern: options.source.unwrap_or_else(|| "/".into()),
                }),
                writable: options.readonly == Some(false),
            },
            "cache" => RunMount::Cache {
                id: self.cache_id(options.id.filter(|id| !id.is_empty()).unwrap_or_else(|| required_target.clone())),
                target: required_target,
                sharing: options.sharing.unwrap_or_else(|| "shared".into()),
                from,
                mode: options.mode,
                uid: options.uid,
                gid: options.gid,
                readonly: options.readonly == Some(true),
            },
            "tmpfs" => RunMount::Tmpfs { target: required_target, size: options.size },
            "secret" => {
                let base = target.as_deref().and_then(|t| t.rsplit('/').next()).map(str::to_owned);
                let Some(id) = options.id.filter(|id| !id.is_empty()).or(base) else {
                    let fault = site.error("invalid-mount", "a secret mount needs an id or a target", word.span);
                    return Err(fault.help("add id=NAME, as given to build --secret id=NAME,src=FILE").into());
                };
                let file = || Some(format!("/run/secrets/{}", id.rsplit('/').next().unwrap_or(&id)));
                RunMount::Secret {
                    target: target.or_else(|| if options.env.is_none() { file() } else { None }),
                    id,
                    env: options.env,
                    required: options.required,
                    mode: options.mode.unwrap_or(0o400),
                    uid: options.uid.unwrap_or(0),
                    gid: options.gid.unwrap_or(0),
                }
            }
            _ => {
                let nth = before.iter().filter(|mount| matches!(mount, RunMount::Ssh { .. })).count();
                RunMount::Ssh {
                    id: options.id.filter(|id| !id.is_empty()).unwrap_or_else(|| "default".into()),
                    target: target.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{nth}")),
                    required: options.required,
                    mode: options.mode.unwrap_or(0o600),
                    uid: options.uid.unwrap_or(0),
                    gid: options.gid.unwrap_or(0),
                }
            }
        })
    }

    /// The name of a cache: apart from all others where a build argument says so, as with BuildKit.
    fn cache_id(&self, id: String) -> String {
        match self.options.build_args.get("BUILDKIT_CACHE_MOUNT_NS").filter(|space| !space.is_empty()) {
            Some(space) => format!("{space}/{id}"),
            None => id,
        }
    }
}

/// The `from` of a mount, if it has one that can be read.
pub fn from_of(options: &Word) -> Option<Word> {
    let fields = fields(&options.value).ok()?;
    let (_, _, value) = fields.into_iter().find(|(_, key, _)| key == "from")?;
    Some(Spanned { value: value?, span: options.span })
}

/// Where the value (or the key, if there is none) stands in the line, the key in lower case, and the value.
type Field = (Range<usize>, String, Option<String>);

fn fields(line: &str) -> Result<Vec<Field>, String> {
    let mut fields = Vec::new();
    for (mut range, text) in text::csv(line)? {
        // A field in quotes is marked whole.
        if let Some(equals) = text.find('=').filter(|_| !line[range.clone()].starts_with('"')) {
            range.start += equals + 1;
        }
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        let key = key.trim().to_ascii_lowercase();
        if value.is_none() && !matches!(key.as_str(), "readonly" | "ro" | "readwrite" | "rw" | "required") {
            return Err(format!("`{text}` is not of the form key=value"));
        }
        fields.push((range, key, value));
    }
    Ok(fields)
}
