//! `rbuild images`.

use super::failure::Failure;
use super::{Session, listing};
use crate::base::clock;
use crate::dockerfile::ignore::go_match;
use crate::export::images::{self, Listed};
use crate::image::Reference;
use crate::store::Access;
use crate::ui::table::{Table, ago, size};
use crate::ui::template::Template;
use crate::ui::{out, report};
use clap::Args;
use serde_json::{Value, json};

/// Arguments of `images`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  rbuild images                                   all images
  rbuild images app                               all tags of one repository
  rbuild images --filter reference='web*:1.*'     by pattern
  rbuild images --filter dangling=true -q         IDs of images without a name
  rbuild images --format '{{.ID}} {{.Repository}}:{{.Tag}}'

Fields for --format: Repository, Tag, ID, Digest, CreatedAt, CreatedSince, Size, Platform, Labels.")]
pub struct ImagesArgs {
    /// Only this repository, or this NAME:TAG
    #[arg(value_name = "NAME[:TAG]")]
    name: Option<String>,

    /// Only the IDs
    #[arg(short, long)]
    quiet: bool,

    /// Full IDs
    #[arg(long)]
    no_trunc: bool,

    /// Show manifest digests
    #[arg(long)]
    digests: bool,

    /// Accepted as docker has it; all images are listed anyway
    #[arg(short, long, hide = true)]
    all: bool,

    /// Only some: reference=PATTERN, dangling=true|false, label=NAME[=VALUE]
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = Filter::parse)]
    filters: Vec<Filter>,

    /// `json`, `table …` or a template such as '{{.ID}}'
    #[arg(long, value_name = "FORMAT", value_parser = listing::template)]
    format: Option<Template>,
}

/// A `--filter`.
#[derive(Clone, Debug)]
enum Filter {
    Reference(String),
    Dangling(bool),
    Label(String, Option<String>),
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, String> {
        match text.split_once('=') {
            Some(("reference", pattern)) => match go_match(pattern.as_bytes(), b"") {
                Ok(_) => Ok(Filter::Reference(pattern.to_owned())),
                Err(reason) => Err(format!("bad pattern '{pattern}': {reason}")),
            },
            Some(("dangling", "true" | "1")) => Ok(Filter::Dangling(true)),
            Some(("dangling", "false" | "0")) => Ok(Filter::Dangling(false)),
            Some(("label", label)) => Ok(match label.split_once('=') {
                Some((name, value)) => Filter::Label(name.to_owned(), Some(value.to_owned())),
                None => Filter::Label(label.to_owned(), None),
            }),
            _ => Err("expected reference=PATTERN, dangling=true|false or label=NAME[=VALUE]".into()),
        }
    }

    fn accepts(&self, image: &Listed) -> bool {
        match self {
            Filter::Reference(pattern) => image.name.as_ref().is_some_and(|name| matches_name(pattern, name)),
            Filter::Dangling(dangling) => image.name.is_none() == *dangling,
            Filter::Label(name, value) => {
                image.labels.get(name).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
        }
    }
}

/// As docker: the pattern is held against `name`, `name:tag` and their full forms.
fn matches_name(pattern: &str, name: &Reference) -> bool {
    let forms = [name.familiar_name(), name.familiar(), name.to_string()];
    forms.iter().any(|form| go_match(pattern.as_bytes(), form.as_bytes()) == Ok(true))
}

/// Lists images.
pub fn run(args: &ImagesArgs, session: &Session) -> Result<(), Failure> {
    let store = session.open_store(Access::Shared)?;
    let listing = images::list(&store)?;
    for (name, error) in &listing.damaged {
        report::warning(&format!("image '{name}' can't be read: {error}"));
    }
    let wanted = |image: &Listed| {
        let named = match (&args.name, &image.name) {
            (None, _) => true,
            (Some(wanted), Some(name)) => matches_name(wanted, name),
            (Some(_), None) => false,
        };
        named && args.filters.iter().all(|filter| filter.accepts(image))
    };
    let shown: Vec<&Listed> = listing.images.iter().filter(|image| wanted(image)).collect();
    if args.quiet {
        let mut ids: Vec<String> = shown.iter().map(|image| id(args, image)).collect();
        ids.dedup();
        ids.iter().try_for_each(|id| out::line(id))?;
        return Ok(());
    }
    let now = clock::now();
    if let Some(template) = &args.format {
        return listing::print(template, shown.iter().map(|image| fields(args, image, now)));
    }
    let mut headings = vec!["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"];
    if args.digests {
        headings.insert(2, "DIGEST");
    }
    let mut table = Table::new(&headings);
    for image in shown {
        let (repository, tag) = names(image);
        let mut row = vec![repository, tag, id(args, image), created(image, now), size(image.size)];
        if args.digests {
            row.insert(2, image.manifest.to_string());
        }
        table.row(row);
    }
    out::write(table.render().as_bytes())?;
    Ok(())
}

fn id(args: &ImagesArgs, image: &Listed) -> String {
    if args.no_trunc { image.id.to_string() } else { image.id.short() }
}

fn names(image: &Listed) -> (String, String) {
    let none = || "<none>".to_owned();
    match &image.name {
        Some(name) => (name.familiar_name(), name.tag.clone().unwrap_or_else(none)),
        None => (none(), none()),
    }
}

fn created(image: &Listed, now: i64) -> String {
    image.created.map_or_else(|| "N/A".to_owned(), |then| ago(then, now))
}

/// The fields by the names that docker's `--format` has.
fn fields(args: &ImagesArgs, image: &Listed, now: i64) -> Value {
    let (repository, tag) = names(image);
    let labels: Vec<String> = image.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "Repository": repository,
        "Tag": tag,
        "ID": id(args, image),
        "Digest": image.manifest,
        "CreatedAt": image.created.map(clock::rfc3339),
        "CreatedSince": created(image, now),
        "Size": size(image.size),
        "Platform": image.platform,
        "Labels": labels.join(","),
    })
}
