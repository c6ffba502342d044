//! Filters of folders: `ignore` and `ignore-file` between the braces of what names the folder.

use super::eval::{bad_path, not_below, quoted};
use super::expand::Expander;
use super::fields::flatten;
use super::files::FileKind;
use super::kind::Kind;
use super::scope::{Bound, Site};
use crate::diag::{At, Diagnostic};
use crate::pipeline::{Input, Spanned, filter};
use crate::syntax::{self, Node};

/// What a reader of a message is told of patterns.
const PATTERNS: &str = "patterns are those of `.gitignore`: `*.tmp`, `/build/`, `!keep.tmp`";

impl<'d> Expander<'d, '_> {
    /// What a parameter is, with the filter that stands between the braces of `node`.
    pub fn filtered_bound(&mut self, site: &Site, node: &'d Node, bound: Bound) -> Bound {
        match bound {
            Bound::Input(input) => self.filtered(site, node, input).map_or(Bound::Wrong, Bound::Input),
            Bound::Wrong | Bound::Absent => bound,
            Bound::List(items) => {
                Bound::List(items.into_iter().map(|item| self.filtered_bound(site, node, item)).collect())
            }
            Bound::Value(_) | Bound::Step(_) | Bound::Cells(_) | Bound::Output(_) => {
                match self.filters(site, node).first() {
                    None => bound,
                    Some(first) => {
                        let what = if matches!(bound, Bound::Step(_) | Bound::Cells(_)) { "a step" } else { "a value" };
                        self.no_folder(site, first, &format!("this is {what}"));
                        Bound::Wrong
                    }
                }
            }
        }
    }

    /// The same for each of several inputs.
    pub fn filtered_all(
        &mut self,
        site: &Site,
        node: &'d Node,
        given: Vec<(Option<String>, Spanned<Input>)>,
    ) -> Option<Vec<(Option<String>, Spanned<Input>)>> {
        given.into_iter().map(|(cell, input)| Some((cell, self.filtered(site, node, input)?))).collect()
    }

    /// The input with the filter that stands between the braces of `node`.
    pub fn filtered(&mut self, site: &Site, node: &'d Node, mut input: Spanned<Input>) -> Option<Spanned<Input>> {
        let filters = self.filters(site, node);
        let Some(first) = filters.first() else { return Some(input) };
        let folder = match &input.value {
            Input::File { path, .. } if self.loader.files.kind(path) == FileKind::Folder => path.clone(),
            other => {
                let what = match other {
                    Input::File { name, .. } => format!("`{name}` is a file"),
                    Input::Step { .. } => "this is the output of a step".to_owned(),
                    Input::Secret { .. } => "this is a secret".to_owned(),
                    Input::Embedded { .. } | Input::EngineSources => "this is built in".to_owned(),
                };
                self.no_folder(site, first, &what);
                return None;
            }
        };
        let mut patterns = Vec::new();
        let mut sound = true;
        for node in filters {
            for entry in node.values() {
                let Some(value) = self.value(site, entry, Kind::Text, "a pattern") else {
                    sound = false;
                    continue;
                };
                let text = value.value.to_string();
                let found = match node.name.text.as_str() {
                    "ignore" => checked(&text, entry.at).map(|pattern| vec![pattern]),
                    _ => self.pattern_file(&folder, &text, entry.at),
                };
                match found {
                    Ok(found) => patterns.extend(found),
                    Err(fault) => {
                        self.report(site.scope, fault);
                        sound = false;
                    }
                }
            }
        }
        if let Input::File { filter, .. } = &mut input.value {
            filter.extend(patterns);
        }
        sound.then_some(input)
    }

    /// The nodes of a filter between the braces of `node`.
    fn filters(&self, site: &Site, node: &'d Node) -> Vec<&'d Node> {
        let children = flatten(node.children(), &|when| self.holds(site, when));
        children.into_iter().filter(|child| matches!(child.name.text.as_str(), "ignore" | "ignore-file")).collect()
    }

    fn no_folder(&mut self, site: &Site, filter: &'d Node, what: &str) {
        let fault = Diagnostic::error(
            "pipe::filter-without-folder",
            format!("`{}` filters a folder beside the KDL file, and {what}", filter.name.text),
        );
        let fault = fault.at(filter.header(), "nothing to leave out here");
        let help = "take it away; what a step leaves behind is chosen with a path, as `(step)\"NAME/folder\"`";
        self.report(site.scope, fault.help(help));
    }

    /// The patterns of a file inside the folder.
    fn pattern_file(&self, folder: &std::path::Path, name: &str, at: At) -> Result<Vec<String>, Diagnostic> {
        if name.is_empty() || bad_path(name) {
            return Err(not_below(name, at, "the folder that is filtered"));
        }
        let path = folder.join(name);
        if self.loader.files.kind(&path) != FileKind::File {
            let fault = Diagnostic::error("pipe::missing-path", format!("`{name}` is no file in that folder"));
            let fault = fault.at(at, format!("looked for `{}`", path.display()));
            return Err(fault.help("its path is relative to the folder that is filtered; mend it, or make the file"));
        }
        let bytes = self.loader.files.read(&path, syntax::MOST_BYTES).map_err(|error| {
            let fault = Diagnostic::error("pipe::cannot-read", format!("`{}` cannot be read: {error}", path.display()));
            fault.at(at, "named here").help("see who may read it")
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        lines
            .map(|(number, line)| match filter::fault(line) {
                None => Ok(line.to_owned()),
                Some(why) => {
                    let message = format!("line {} of `{name}`, `{line}`, is no pattern: {why}", number + 1);
                    Err(Diagnostic::error("pipe::bad-ignore-pattern", message).at(at, "read here").help(PATTERNS))
                }
            })
            .collect()
    }
}

fn checked(pattern: &str, at: At) -> Result<String, Diagnostic> {
    match filter::fault(pattern) {
        None => Ok(pattern.to_owned()),
        Some(why) => {
            let fault =
                Diagnostic::error("pipe::bad-ignore-pattern", format!("{} is no pattern: {why}", quoted(pattern)));
            Err(fault.at(at, "it would leave nothing out").help(PATTERNS))
        }
    }
}
