//! Diagnostics as JSON lines for programs: one object each, with lines and columns.

use serde_json::{Value, json};

use super::{Diagnostics, Label, Source, line_column};

impl Diagnostics {
    /// One JSON object a line: `code`, `severity`, `message`, `file`, `line`, `column`, `end_line`,
    /// `end_column`, `help`, `labels`, `trail`.
    pub fn json_lines(&self) -> String {
        let mut out = String::new();
        for d in &self.list {
            let first = d.labels.first().map(|label| place(label, &self.sources));
            let part = |key: &str| first.as_ref().map_or(Value::Null, |place| place[key].clone());
            let places = |labels: &[Label]| labels.iter().map(|l| place(l, &self.sources)).collect::<Vec<_>>();
            let object = json!({
                "code": d.code,
                "severity": d.severity.name(),
                "message": d.message,
                "file": part("file"),
                "line": part("line"),
                "column": part("column"),
                "end_line": part("end_line"),
                "end_column": part("end_column"),
                "help": d.help,
                "labels": places(&d.labels),
                "trail": places(&d.trail),
            });
            out.push_str(&object.to_string());
            out.push('\n');
        }
        out
    }
}

fn place(label: &Label, sources: &[Source]) -> Value {
    let (file, text) = sources.get(label.at.source).map_or(("", ""), |s| (s.name.as_str(), &*s.text));
    let (line, column) = line_column(text, label.at.start);
    let (end_line, end_column) = line_column(text, label.at.end);
    json!({
        "file": file,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "offset": label.at.start,
        "length": label.at.end.saturating_sub(label.at.start),
        "text": label.text,
    })
}
