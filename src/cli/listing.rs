//! Output forms that listings share: a table, `--format`, `-q`.

use super::failure::{Code, Failure};
use crate::ui::table::Table;
use crate::ui::template::{Template, TemplateError};
use crate::ui::{out, sanitize};
use serde_json::Value;

/// For clap.
pub fn template(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|e| e.to_string())
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Failure {
        Failure::new(Code::Usage, error)
    }
}

/// Prints rows by a template, one line each, or with `table …` as columns.
pub fn print(template: &Template, rows: impl IntoIterator<Item = Value>) -> Result<(), Failure> {
    let lines: Vec<String> = rows.into_iter().map(|row| template.render(&row)).collect::<Result<_, _>>()?;
    if template.is_table() {
        let heading = template.heading();
        let mut table = Table::new(&heading.split('\t').collect::<Vec<_>>());
        for line in &lines {
            table.row(line.split('\t').map(str::to_owned));
        }
        out::write(table.render().as_bytes())?;
        return Ok(());
    }
    // Values come from images that others made.
    let text: String = lines.iter().map(|line| sanitize::strip(line) + "\n").collect();
    out::write(text.as_bytes())?;
    Ok(())
}
