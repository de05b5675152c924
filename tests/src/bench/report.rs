//! The table: rows as they come, their targets, and the same as JSON.

use std::fmt::Write as _;

/// What a row has to reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Nothing: it is published beside others.
    None,
    /// The figure is at least this.
    AtLeast(f64),
    /// The figure is at most this.
    AtMost(f64),
    /// The figure is at least this part of its peer.
    RatioAtLeast(f64),
    /// The figure is so many times its peer, or at least this.
    Either {
        /// Times the peer.
        times: f64,
        /// In the figure's unit.
        limit: f64,
    },
    /// The figure is at most this many times its peer.
    RatioAtMost(f64),
}

/// A row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Under what circumstances: fresh, aged, with snapshots.
    pub stage: String,
    /// What was measured.
    pub name: String,
    /// In what unit.
    pub unit: &'static str,
    /// How much.
    pub figure: f64,
    /// What it is held against, in the same unit.
    pub peer: Option<f64>,
    /// What it has to reach.
    pub goal: Goal,
}

impl Row {
    /// The figure as a part of its peer.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        self.peer.filter(|peer| *peer != 0.0).map(|peer| self.figure / peer)
    }

    /// Whether the goal is met, if there is one.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        match self.goal {
            Goal::None => None,
            Goal::AtLeast(goal) => Some(self.figure >= goal),
            Goal::AtMost(goal) => Some(self.figure <= goal),
            Goal::RatioAtLeast(goal) => Some(ratio >= goal),
            Goal::RatioAtMost(goal) => Some(ratio <= goal),
            Goal::Either { times, limit } => Some(ratio >= times || self.figure >= limit),
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::AtLeast(goal) => format!(">= {}", number(goal)),
            Goal::AtMost(goal) => format!("<= {}", number(goal)),
            Goal::RatioAtLeast(goal) => format!(">= {goal} x"),
            Goal::RatioAtMost(goal) => format!("<= {goal:.2} x"),
            Goal::Either { times, limit } => format!(">= {times} x or {}", number(limit)),
        }
    }

    /// The row as a line of the table.
    #[must_use]
    pub fn line(&self) -> String {
        let ratio = self.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let peer = self.peer.map_or(String::new(), number);
        let met = match self.met() {
            None => "",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        let unit = self.unit;
        format!(
            "{:<22} {:<46} {:>10} {unit:<8} {peer:>10} {ratio:>6} {:>12} {met:>4}",
            self.stage,
            self.name,
            number(self.figure),
            self.goal_text()
        )
    }
}

/// The head of the table.
#[must_use]
pub fn head() -> String {
    format!(
        "{:<22} {:<46} {:>10} {:<8} {:>10} {:>6} {:>12} {:>4}",
        "stage", "row", "figure", "unit", "raw/peer", "ratio", "goal", "met"
    )
}

fn number(n: f64) -> String {
    match n.abs() {
        a if a >= 1000.0 => format!("{n:.0}"),
        a if a >= 10.0 => format!("{n:.1}"),
        _ => format!("{n:.3}"),
    }
}

/// The rows so far; `on_row` is told each as it comes.
pub struct Report {
    rows: Vec<Row>,
    on_row: Box<dyn Fn(&Row)>,
}

impl Report {
    /// An empty one.
    #[must_use]
    pub fn new(on_row: impl Fn(&Row) + 'static) -> Report {
        Report { rows: Vec::new(), on_row: Box::new(on_row) }
    }

    /// Adds a row.
    pub fn add(
        &mut self,
        stage: &str,
        name: &str,
        (figure, unit): (f64, &'static str),
        peer: Option<f64>,
        goal: Goal,
    ) {
        let row = Row { stage: stage.into(), name: name.into(), unit, figure, peer, goal };
        (self.on_row)(&row);
        self.rows.push(row);
    }

    /// All rows as JSON, with `facts` about the run.
    #[must_use]
    pub fn json(&self, facts: &[(&str, String)]) -> String {
        let mut out = String::from("{\n");
        for (name, value) in facts {
            let _ = writeln!(out, "  {}: {},", quoted(name), quoted(value));
        }
        out.push_str("  \"rows\": [\n");
        for (at, row) in self.rows.iter().enumerate() {
            let comma = if at + 1 < self.rows.len() { "," } else { "" };
            let option = |n: Option<f64>| n.map_or("null".into(), |n| format!("{n:.4}"));
            let met = row.met().map_or("null".into(), |met| met.to_string());
            let _ = writeln!(
                out,
                "    {{\"stage\": {}, \"row\": {}, \"figure\": {:.4}, \"unit\": {}, \"peer\": {}, \
                 \"ratio\": {}, \
                 \"goal\": {}, \"met\": {met}}}{comma}",
                quoted(&row.stage),
                quoted(&row.name),
                row.figure,
                quoted(row.unit),
                option(row.peer),
                option(row.ratio()),
                quoted(&row.goal_text()),
            );
        }
        out.push_str("  ]\n}\n");
        out
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The middle one; the mean of the two middle ones of an even number.
///
/// # Panics
/// When there are none.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    assert!(!figures.is_empty(), "a median of nothing");
    figures.sort_by(f64::total_cmp);
    let half = figures.len() / 2;
    if figures.len() % 2 == 1 {
        figures[half]
    } else {
        (figures[half - 1] + figures[half]) / 2.0
    }
}
