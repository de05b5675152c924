//! What people see: tables, questions, JSON.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use std::io::{BufRead, IsTerminal, Write};
use volume_manager::Size;

/// How answers are printed.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub json: bool,
}

impl Output {
    /// Prints `value` as JSON, or calls `show`.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        show: impl FnOnce(&T) -> String,
    ) -> std::io::Result<()> {
        let text = match self.json {
            true => serde_json::to_string_pretty(value).map_err(std::io::Error::other)?,
            false => show(value),
        };
        match text.is_empty() {
            true => Ok(()),
            false => line(&mut std::io::stdout().lock(), &text),
        }
    }

    /// Warnings go to stderr: standard output stays what a program can read.
    pub(crate) fn warn(self, warnings: &[String]) {
        for warning in warnings {
            eprintln!("ashlar: warning: {warning}");
        }
    }
}

/// A reader that went away (`ashlar ... | head`) is no fault.
fn line(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    match writeln!(out, "{}", text.trim_end()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A table: `headers` of columns whose numbers (`>` in front) are set to the right.
pub(crate) fn table(headers: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().map(|header| header.trim_start_matches('>')));
    for (column, header) in table.column_iter_mut().zip(headers) {
        column.set_padding((0, 2));
        if header.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.add_rows(rows);
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// `Name  value` lines.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    facts.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    Size(bytes).to_string()
}

/// What an empty list is shown as.
pub(crate) fn list(items: impl IntoIterator<Item = String>, none: &str) -> String {
    let items: Vec<String> = items.into_iter().collect();
    if items.is_empty() {
        none.to_owned()
    } else {
        items.join(", ")
    }
}

/// Asks before something that cannot be undone; without a terminal, `--yes` is needed.
pub(crate) fn confirm(what: &str, yes: bool) -> Result<(), String> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(format!("{what} cannot be undone: give --yes to do it without being asked"));
    }
    eprint!("{what}: this cannot be undone. Go on? [y/N] ");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    match read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes") {
        true => Ok(()),
        false => Err("not done".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_end_without_spaces() {
        let shown =
            table(&["NAME", ">SIZE"], [vec!["a".into(), "1G".into()], vec!["long".into(), "20G".into()]]);
        assert_eq!(shown, "NAME  SIZE\na       1G\nlong   20G\n");
    }
}
