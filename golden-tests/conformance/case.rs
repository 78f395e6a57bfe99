//! One case: a file that holds the Dockerfile, the context and the results.

use super::material::{Item, escaped};
use super::network::Wanted;
use super::outcome::Outcome;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A case as its file tells it.
pub struct Case {
    /// `GROUP/NAME`, from the file's place.
    pub name: String,
    /// Arguments for both builders; `@` at the start of a path stands for the context directory.
    pub args: Vec<String>,
    /// Why rbuild gives another result, if it does.
    pub differs: Option<String>,
    /// Whether it is looked at and not built: what checks find in it is compared.
    pub checked: bool,
    /// Whether the images' histories are compared.
    pub history: bool,
    /// Whether modification times are compared.
    pub times: bool,
    /// Images to be built first: name and Dockerfile.
    pub images: Vec<(String, Vec<u8>)>,
    /// What is built.
    pub dockerfile: Vec<u8>,
    /// Everything in the context directory.
    pub context: Vec<Item>,
    /// What is served while it is built.
    pub network: Wanted,
    /// Whether BuildKit's result is in the file.
    pub recorded: bool,
    /// BuildKit's result.
    pub result: Outcome,
    /// rbuild's, where it is not the same.
    pub own: Option<Outcome>,
    file: PathBuf,
    /// The text up to the first result.
    text: String,
}

impl Case {
    /// Reads a case's file.
    pub fn read(file: &Path) -> Result<Case, String> {
        let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let group = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let mut case = Case {
            name: format!("{group}/{stem}"),
            args: Vec::new(),
            differs: None,
            checked: false,
            history: false,
            times: false,
            images: Vec::new(),
            dockerfile: Vec::new(),
            context: Vec::new(),
            network: Wanted::default(),
            recorded: text.contains("\n--- buildkit\n"),
            result: Outcome::default(),
            own: None,
            file: file.to_owned(),
            text: text.split("--- buildkit\n").next().unwrap_or_default().to_owned(),
        };
        let (head, sections) = sections(&text);
        for line in head.lines() {
            case.header(line)?;
        }
        for (title, body) in sections {
            case.section(title, body).map_err(|e| format!("--- {title}: {e}"))?;
        }
        Ok(case)
    }

    fn header(&mut self, line: &str) -> Result<(), String> {
        match line.split_once(": ") {
            Some(("args", words)) => self.args.extend(words.split_whitespace().map(str::to_owned)),
            Some(("arg", word)) => self.args.push(word.to_owned()),
            Some(("differs", reason)) => self.differs = Some(reason.to_owned()),
            Some(("only", "checks")) => self.checked = true,
            Some(("also", "history")) => self.history = true,
            Some(("also", "times")) => self.times = true,
            Some(("also", other)) => return Err(format!("'{other}' can't be compared")),
            _ => {}
        }
        Ok(())
    }

    fn section(&mut self, title: &str, body: &str) -> Result<(), String> {
        let words: Vec<&str> = title.split_whitespace().collect();
        match words[..] {
            ["Dockerfile"] => self.dockerfile = body.as_bytes().to_vec(),
            ["Dockerfile", "escaped"] => self.dockerfile = escaped(body)?,
            ["image", name] => self.images.push((name.to_owned(), body.as_bytes().to_vec())),
            ["http", path] => self.network.page(path, None, body)?,
            ["http", path, status] => self.network.page(path, Some(status), body)?,
            ["repository", name] => self.network.repository(name, body),
            ["buildkit"] => self.result = Outcome::read(body),
            ["rbuild"] => self.own = Some(Outcome::read(body)),
            _ => self.context.push(Item::read(&words, body)?),
        }
        Ok(())
    }

    /// What its image is called.
    pub fn tag(&self) -> String {
        format!("conf/{}", self.name)
    }

    /// Whether a step runs a process.
    pub fn runs(&self) -> bool {
        if self.checked {
            return false;
        }
        let files = self.images.iter().map(|(_, text)| text).chain([&self.dockerfile]);
        files.into_iter().any(|text| String::from_utf8_lossy(text).to_ascii_uppercase().contains("RUN"))
    }

    /// Rewrites the results in the case's file.
    pub fn write(&self) -> Result<(), String> {
        let mut text = self.text.clone();
        let _ = write!(text, "--- buildkit\n{}", self.result);
        if let Some(own) = &self.own {
            let _ = write!(text, "--- rbuild\n{own}");
        }
        if std::fs::read_to_string(&self.file).is_ok_and(|old| old == text) {
            return Ok(());
        }
        std::fs::write(&self.file, text).map_err(|e| format!("{}: {e}", self.file.display()))
    }
}

/// The text before the first `--- TITLE` line, and every such line with what follows it.
fn sections(text: &str) -> (&str, Vec<(&str, &str)>) {
    let mut starts: Vec<usize> = text.match_indices("\n--- ").map(|(at, _)| at + 1).collect();
    let head = &text[..starts.first().copied().unwrap_or(text.len())];
    starts.push(text.len());
    let parts = starts.windows(2).map(|pair| {
        let section = &text[pair[0] + "--- ".len()..pair[1]];
        section.split_once('\n').unwrap_or((section, ""))
    });
    (head, parts.collect())
}
