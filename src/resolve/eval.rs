//! Expressions: what a value with its annotation means at a site.

use super::expand::Expander;
use super::files::FileKind;
use super::kind::Kind;
use super::scope::{Bound, Ref, Site, Target, Work, origin, place};
use super::table::{HOST_ARCH, HOST_OS, WHEN};
use super::value;
use crate::diag::{At, Diagnostic, list, suggest};
use crate::pipeline::{Arg, Cell, Class, Input, Origin, Spanned, StepId, Value};
use crate::syntax::{Entry, Literal, Node};

impl<'d> Expander<'d, '_> {
    /// What `entry` means where a value of `kind` is wanted.
    pub fn bind(&mut self, site: &Site, entry: &'d Entry, kind: Kind, what: &str) -> Bound {
        let text = entry.text().unwrap_or_default();
        match entry.annotated() {
            Some("param") => self.bind_param(site, entry, text, kind, what),
            Some("axis") => self.bind_axis(site, entry, text, kind, what),
            Some("step") => self.bind_step(site, entry, text),
            Some("file") => {
                let home = &self.modules[self.scopes[site.scope].module].home;
                match self.loader.file(home, entry) {
                    Ok(input) => Bound::Input(Spanned { value: input, origin: origin(entry.at) }),
                    Err(fault) => self.refuse(site, fault),
                }
            }
            Some("output") => Bound::Output(text.to_owned()),
            Some("secret") if kind.takes_file() && is_secret_name(text) => {
                Bound::Input(Spanned { value: Input::Secret { name: text.to_owned() }, origin: origin(entry.at) })
            }
            Some("secret") => self.refuse(site, value::wrong_type(entry, kind, what)),
            Some("builtin") => Bound::Input(Spanned { value: Input::EngineSources, origin: origin(entry.at) }),
            _ => match value::literal(entry, kind, what) {
                Ok(value) => Bound::Value(Spanned { value, origin: origin(entry.at) }),
                Err(fault) => self.refuse(site, fault),
            },
        }
    }

    fn refuse(&mut self, site: &Site, fault: Diagnostic) -> Bound {
        self.report(site.scope, fault);
        Bound::Wrong
    }

    fn bind_param(&mut self, site: &Site, entry: &'d Entry, text: &str, kind: Kind, what: &str) -> Bound {
        let Some(bound) = self.scopes[site.scope].params.get(text).cloned() else {
            let known: Vec<&str> = self.scopes[site.scope].params.keys().copied().collect();
            return self.refuse(site, unknown_param(text, entry.at, known));
        };
        match bound {
            Bound::Value(spanned) => self.fit(site, spanned, entry, kind, what),
            Bound::Step(_) if !kind.takes_step() => self.refuse(site, value::wrong_type(entry, kind, what)),
            Bound::Input(_) if !kind.takes_file() => self.refuse(site, value::wrong_type(entry, kind, what)),
            bound => bound,
        }
    }

    fn bind_axis(&mut self, site: &Site, entry: &'d Entry, text: &str, kind: Kind, what: &str) -> Bound {
        let (Some(cell), Some((matrix, _))) = (&site.cell, site.of) else {
            return self.refuse(site, no_axis_here(text, entry.at, self.scopes[site.scope].instance.is_some()));
        };
        let matrix = &self.matrices[matrix];
        let value = matrix.axis(text).zip(cell.get(text)).and_then(|(axis, value)| {
            let (text, at) = axis.values.iter().find(|(known, _)| known == value)?;
            Some(Spanned { value: Value::Text(text.clone()), origin: origin(*at) })
        });
        match value {
            Some(spanned) => self.fit(site, spanned, entry, kind, what),
            None => {
                let fault = matrix.unknown_axis(text, entry.at);
                self.refuse(site, fault)
            }
        }
    }

    /// A value that came through a parameter or an axis as one of the kind that is wanted here.
    fn fit(&mut self, site: &Site, spanned: Spanned<Value>, entry: &'d Entry, kind: Kind, what: &str) -> Bound {
        let Spanned { value, origin } = spanned;
        let text = value.to_string();
        let value = match (kind, value) {
            (Kind::Any | Kind::Plain | Kind::Arg, value) => Some(value),
            (Kind::Text, value @ Value::Text(_)) => Some(value),
            (Kind::Int, value @ Value::Integer(_)) => Some(value),
            (Kind::Float | Kind::Percent, value @ Value::Float(_)) => Some(value),
            (Kind::Float, Value::Integer(n)) => Some(Value::Float(n as f64)),
            (Kind::Bool, value @ Value::Bool(_)) => Some(value),
            (Kind::Size, value @ Value::Bytes(_)) => Some(value),
            (Kind::Time, value @ Value::Time(_)) => Some(value),
            // An axis holds texts; a number among them is meant as one.
            (kind, Value::Text(text)) if entry.annotated() == Some("axis") => value::from_flag(&text, kind),
            _ => None,
        };
        match value {
            Some(value) => Bound::Value(Spanned { value, origin }),
            None => {
                let fault = Diagnostic::error(
                    "pipe::wrong-type",
                    format!("{what} is {}, but `{text}` is given", kind.describe()),
                );
                let mut fault = fault.at(entry.at, format!("this is `{text}`"));
                if let Some(at) = place(&origin) {
                    fault = fault.at(at, "which is written here");
                }
                self.refuse(site, fault.help(format!("give it {}, as `{}`", kind.describe(), kind.example())))
            }
        }
    }

    fn bind_step(&mut self, site: &Site, entry: &'d Entry, text: &str) -> Bound {
        let (name, path) = text.split_once('/').unwrap_or((text, ""));
        if bad_path(path) {
            return self.refuse(site, not_below(path, entry.at, "the step's output"));
        }
        let scope = &self.scopes[site.scope];
        if !scope.names.contains_key(name) {
            // A parameter that holds a step or a file is named like a step inside its recipe.
            return match scope.params.get(name).cloned() {
                Some(Bound::Step(inner)) => Bound::Step(Ref { path: join(&inner.path, path), at: entry.at, ..inner }),
                Some(Bound::Input(inner)) => self.inside_file(site, inner, path, entry),
                Some(Bound::Absent) => Bound::Absent,
                Some(Bound::Wrong) => Bound::Wrong,
                _ => {
                    let known: Vec<&str> = scope.names.keys().copied().collect();
                    let fault = unknown_step(name, entry.at, known);
                    self.refuse(site, fault)
                }
            };
        }
        let cell = site.cell.clone();
        Bound::Step(Ref {
            scope: site.scope,
            name: name.to_owned(),
            path: path.to_owned(),
            cell,
            of: site.of,
            at: entry.at,
        })
    }

    fn inside_file(&mut self, site: &Site, inner: Spanned<Input>, path: &str, entry: &'d Entry) -> Bound {
        match inner.value {
            _ if path.is_empty() => Bound::Input(inner),
            Input::File { path: folder, filter, .. } => match self.loader.file_in(&folder, path, entry.at) {
                Ok(Input::File { path: found, name, .. }) => {
                    let filter = filter.inside(path);
                    if filter.leaves_itself_out(self.loader.files.kind(&found) == FileKind::Folder) {
                        let message = format!("`{path}` is left out by the filter of its folder");
                        let fault = Diagnostic::error("pipe::left-out", message).at(entry.at, "used here");
                        let fault = place(&inner.origin).map_or(fault.clone(), |at| fault.at(at, "the folder"));
                        let help =
                            "take the pattern away that leaves it out, or write one below it: `ignore \"!NAME\"`";
                        return self.refuse(site, fault.help(help));
                    }
                    Bound::Input(Spanned { value: Input::File { path: found, name, filter }, origin: inner.origin })
                }
                Ok(input) => Bound::Input(Spanned { value: input, origin: inner.origin }),
                Err(fault) => self.refuse(site, fault),
            },
            _ => self.refuse(site, not_below(path, entry.at, "this file, which is no folder")),
        }
    }

    /// A plain value; `None` where it is not given or was reported.
    pub fn value(&mut self, site: &Site, entry: &'d Entry, kind: Kind, what: &str) -> Option<Spanned<Value>> {
        match self.bind(site, entry, kind, what) {
            Bound::Value(value) => Some(value),
            Bound::Absent | Bound::Wrong => None,
            Bound::Input(_) | Bound::Step(_) | Bound::Output(_) => {
                self.report(site.scope, value::wrong_type(entry, kind, what));
                None
            }
        }
    }

    /// A step or a file, with the step recorded as one that slot `reader` reads.
    pub fn input(
        &mut self,
        reader: usize,
        site: &Site,
        entry: &'d Entry,
        kind: Kind,
        what: &str,
    ) -> Option<Spanned<Input>> {
        match self.bind(site, entry, kind, what) {
            Bound::Input(input) => self.allowed(reader, site, entry, input),
            Bound::Step(wanted) => self.step_input(reader, site, &wanted),
            Bound::Absent | Bound::Wrong => None,
            Bound::Value(_) | Bound::Output(_) => {
                self.report(site.scope, value::wrong_type(entry, kind, what));
                None
            }
        }
    }

    /// The input, unless it is a secret where none may be.
    fn allowed(
        &mut self,
        reader: usize,
        site: &Site,
        entry: &'d Entry,
        input: Spanned<Input>,
    ) -> Option<Spanned<Input>> {
        let Input::Secret { name } = &input.value else { return Some(input) };
        let node = match &self.slots[reader].work {
            Work::Node(node) => node.name.text.as_str(),
            Work::Ready(_) => "",
        };
        let fault = match (node, self.slots[reader].class) {
            ("step", Class::Fetch) => return Some(input),
            ("step", _) => {
                let message = format!("a `build` step cannot use the secret `{name}`");
                let fault = Diagnostic::error("pipe::secret-in-build", message);
                let fault = fault.at(entry.at, "its result must not depend on who runs it");
                fault.help(
                    "fetch what it opens in a step of its own with `class=\"fetch\"`, and give that step's output here",
                )
            }
            _ => {
                let fault =
                    Diagnostic::error("pipe::misplaced-secret", format!("`{node}` cannot use the secret `{name}`"));
                let fault = fault.at(entry.at, "it would become part of what is kept");
                fault.help("only a `step` with `class=\"fetch\"` is given secrets, in `run`, `arg`, `env` and `input`")
            }
        };
        self.report(site.scope, fault);
        None
    }

    fn step_input(&mut self, reader: usize, site: &Site, wanted: &Ref) -> Option<Spanned<Input>> {
        let (slot, path) = self.resolve(site, wanted)?;
        self.slots[reader].reads.push((slot, wanted.at));
        Some(Spanned { value: Input::Step { step: StepId(slot), path }, origin: origin(wanted.at) })
    }

    /// A piece of a command line.
    pub fn arg(&mut self, reader: usize, site: &Site, entry: &'d Entry, what: &str) -> Option<Spanned<Arg>> {
        match self.bind(site, entry, Kind::Arg, what) {
            Bound::Value(value) => Some(Spanned { value: Arg::Value(value.value), origin: value.origin }),
            Bound::Input(input) => {
                let input = self.allowed(reader, site, entry, input)?;
                Some(Spanned { value: Arg::Input(input.value), origin: input.origin })
            }
            Bound::Step(wanted) => {
                let input = self.step_input(reader, site, &wanted)?;
                Some(Spanned { value: Arg::Input(input.value), origin: input.origin })
            }
            Bound::Output(path) if bad_path(&path) => {
                self.report(site.scope, not_below(&path, entry.at, "the step's output"));
                None
            }
            Bound::Output(path) => Some(Spanned { value: Arg::Output(path), origin: origin(entry.at) }),
            Bound::Absent => {
                let name = entry.text().unwrap_or_default().split('/').next().unwrap_or_default();
                let fault =
                    Diagnostic::error("pipe::absent-parameter", format!("`{name}` is optional and was not given"));
                let help =
                    format!("put what uses it into `when \"{name}\" {{ … }}`, which holds only where it is given");
                self.report(site.scope, fault.at(entry.at, "used here").help(help));
                None
            }
            Bound::Wrong => None,
        }
    }

    /// The slot that a reference means, and the path in its output.
    pub fn resolve(&mut self, site: &Site, wanted: &Ref) -> Option<(usize, String)> {
        let scope = &self.scopes[wanted.scope];
        let Some(entity) = scope.names.get(wanted.name.as_str()) else {
            // The name was there when the reference was made; only a duplicate that was reported removes it.
            return None;
        };
        // Cells of one matrix are made in one order, so the same number is the same cell.
        if let (Some((matrix, index)), Some(of)) = (wanted.of, entity.matrix)
            && matrix == of
        {
            let (_, target) = entity.targets.get(index)?;
            return target.map(|slot| (slot, wanted.path.clone()));
        }
        let agrees = |cell: &Cell| {
            let from = wanted.cell.as_deref();
            from.is_none_or(|from| cell.0.iter().all(|(axis, value)| from.get(axis).is_none_or(|v| v == value)))
        };
        let found: Vec<&(Option<_>, Target)> =
            entity.targets.iter().filter(|(cell, _)| cell.as_deref().is_none_or(agrees)).collect();
        if let [(_, target)] = found[..] {
            return target.map(|slot| (slot, wanted.path.clone()));
        }
        let name = &wanted.name;
        // The cell stands in the label, so that the same fault in each of many cells is told once.
        let from = wanted.cell.as_ref().map(|cell| format!(" in the cell {cell}")).unwrap_or_default();
        let fault = if found.is_empty() {
            let fault = Diagnostic::error(
                "pipe::no-such-cell",
                format!("no cell of `{name}` agrees with the cell that uses it"),
            );
            let fault = fault.at(wanted.at, format!("used{from}"));
            fault.help(
                "their matrices share an axis but not this value of it: exclude the cell here, or add the value there",
            )
        } else {
            let cells: Vec<String> =
                found.iter().filter_map(|(cell, _)| cell.as_ref()).map(|cell| format!("{name}[{cell}]")).collect();
            let fault =
                Diagnostic::error("pipe::ambiguous-step", format!("`{name}` has several cells, and none is chosen"));
            let fault = fault.at(wanted.at, format!("which of them{from}?"));
            fault.help(format!("use it in a step with a `for-each` over the same axes; there are {}", list(&cells)))
        };
        let fault = fault.at(entity.at, "one step for each cell");
        self.report(site.scope, fault);
        None
    }

    /// Decides a `when`: every parameter or axis that it names has the value, or is given.
    pub fn holds(&self, site: &Site, when: &'d Node) -> bool {
        debug_assert_eq!(when.name.text, WHEN);
        when.entries.iter().all(|entry| match &entry.key {
            None => entry.text().is_some_and(|name| !matches!(self.known(site, name), None | Some(Bound::Absent))),
            Some(key) => match self.known(site, &key.text) {
                Some(Bound::Absent) => entry.literal == Literal::Null,
                Some(Bound::Value(known)) => {
                    let wanted = value::literal(entry, Kind::Plain, "");
                    wanted.is_ok_and(|wanted| wanted.to_string() == known.value.to_string())
                }
                _ => false,
            },
        })
    }

    fn known(&self, site: &Site, name: &str) -> Option<Bound> {
        let axis = site.cell.as_ref().and_then(|cell| cell.get(name));
        let text = axis.or(match name {
            HOST_OS => Some(self.facts.os.as_str()),
            HOST_ARCH => Some(self.facts.arch.as_str()),
            _ => None,
        });
        match text {
            Some(text) => {
                let value = Value::Text(text.to_owned());
                Some(Bound::Value(Spanned { value, origin: Origin::Builtin("what `when` compares") }))
            }
            None => self.scopes[site.scope].params.get(name).cloned(),
        }
    }
}

/// True for the name of a secret, which is that of an environment variable as well.
pub fn is_secret_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(good)
}

/// "there is no parameter `x`".
pub fn unknown_param(name: &str, at: At, known: Vec<&str>) -> Diagnostic {
    let fault = Diagnostic::error("pipe::unknown-parameter", format!("there is no parameter `{name}`"));
    let help = suggest(name, known, "there are");
    fault.at(at, "not declared").help(help.unwrap_or_else(|| format!("declare it: `param \"{name}\" …`")))
}

/// "there is no step `x`".
pub fn unknown_step(name: &str, at: At, known: Vec<&str>) -> Diagnostic {
    let fault = Diagnostic::error("pipe::unknown-step", format!("there is no step `{name}`"));
    fault.at(at, "no step of this name").maybe_help(suggest(name, known, "there are"))
}

/// "there is no axis here".
pub fn no_axis_here(name: &str, at: At, in_recipe: bool) -> Diagnostic {
    let fault = Diagnostic::error("pipe::unknown-axis", format!("there is no axis `{name}` here"));
    let help = match in_recipe {
        true => format!(
            "a recipe sees no axes of who uses it: declare `param \"{name}\"`, and give it `{name}=(axis)\"{name}\"`"
        ),
        false => "a step has axes where it says `for-each=\"MATRIX\"`".to_owned(),
    };
    fault.at(at, "no matrix gives it a value").help(help)
}

/// "`x` does not lie below …".
pub fn not_below(path: &str, at: At, what: &str) -> Diagnostic {
    let fault = Diagnostic::error("pipe::bad-path", format!("{} is no path below {what}", quoted(path)));
    fault.at(at, "here").help("write a relative path with `/`, without `..`")
}

/// A text as a message shows it, also where there is nothing to show.
pub fn quoted(text: &str) -> String {
    if text.trim().is_empty() { "an empty text".to_owned() } else { format!("`{text}`") }
}

/// True for a path that leaves the folder it starts in, or names none.
pub fn bad_path(path: &str) -> bool {
    !path.is_empty() && path.split('/').any(|part| part.is_empty() || part == "." || part == "..")
}

fn join(folder: &str, path: &str) -> String {
    match (folder.is_empty(), path.is_empty()) {
        (true, _) => path.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!("{folder}/{path}"),
    }
}
