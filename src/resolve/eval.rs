//! Expressions: what a value with its annotation means at a site.

use super::expand::Expander;
use super::files::FileKind;
use super::kind::Kind;
use super::scope::{Bound, Ref, Site, Work, origin, place};
use super::table::{HOST_ARCH, HOST_GPU, HOST_OS, WHEN};
use super::{cells, value};
use crate::diag::{At, Diagnostic, suggest, suggest_or};
use crate::pipeline::{Arg, Class, Input, Origin, Spanned, Value};
use crate::syntax::{Entry, Literal, Node};

impl<'d> Expander<'d, '_> {
    /// What `entry` means where a value of `kind` is wanted.
    pub fn bind(&mut self, site: &Site, entry: &'d Entry, kind: Kind, what: &str) -> Bound {
        let text = entry.text().unwrap_or_default();
        match entry.annotated() {
            Some("param") => self.bind_param(site, entry, text, kind, what),
            Some("axis") => self.bind_axis(site, entry, text, kind, what),
            Some("step") => self.bind_step(site, entry, text),
            Some("cells") if !kind.takes_cells() => self.refuse(site, cells::misplaced(text, entry.at, what)),
            Some("cells") => match self.bind_step(site, entry, text) {
                Bound::Step(wanted) => Bound::Cells(wanted),
                other => other,
            },
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

    pub fn refuse(&mut self, site: &Site, fault: Diagnostic) -> Bound {
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
            Bound::List(_) => self.refuse(site, list_here(text, entry.at, what)),
            bound => bound,
        }
    }

    fn bind_axis(&mut self, site: &Site, entry: &'d Entry, text: &str, kind: Kind, what: &str) -> Bound {
        let (Some(cell), Some((matrix, _))) = (&site.cell, site.of) else {
            return self.refuse(site, no_axis_here(text, entry.at, self.scopes[site.scope].instance.is_some()));
        };
        let matrix = &self.matrices[matrix];
        let value = matrix.axis(text).zip(cell.get(text)).and_then(|(axis, value)| axis.value(value));
        let value = value.map(|known| Spanned { value: known.value.clone(), origin: known.origin.clone() });
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
        let axis = entry.annotated() == Some("axis");
        let value = match (kind, value) {
            (Kind::Any | Kind::Plain | Kind::Arg, value) => Some(value),
            (Kind::Text, value @ Value::Text(_)) => Some(value),
            (Kind::Int, value @ Value::Integer(_)) => Some(value),
            (Kind::Float | Kind::Percent, value @ Value::Float(_)) => Some(value),
            (Kind::Float, Value::Integer(n)) => Some(Value::Float(n as f64)),
            (Kind::Bool, value @ Value::Bool(_)) => Some(value),
            (Kind::Size, value @ Value::Bytes(_)) => Some(value),
            (Kind::Time, value @ Value::Time(_)) => Some(value),
            // A cell is named by texts: what an axis holds can be read from them too.
            (Kind::Text, _) if axis => Some(Value::Text(text.clone())),
            (kind, Value::Text(text)) if axis => value::from_flag(&text, kind),
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
        let named = match cells::read(text, entry.at) {
            Ok(named) => named,
            Err(fault) => return self.refuse(site, fault),
        };
        let (name, path) = (named.name, named.path);
        if bad_path(path) {
            return self.refuse(site, not_below(path, entry.at, "the step's output"));
        }
        let scope = &self.scopes[site.scope];
        if !scope.declared.contains(name) {
            // A parameter that holds a step or a file is named like a step inside its recipe.
            return match scope.params.get(name).cloned() {
                Some(Bound::Step(inner)) if named.pattern.is_none() => {
                    Bound::Step(Ref { path: join(&inner.path, path), at: entry.at, ..inner })
                }
                Some(Bound::Step(_) | Bound::Input(_)) if named.pattern.is_some() => {
                    self.refuse(site, cells::none_in_recipe(name, entry.at))
                }
                Some(Bound::Input(inner)) => self.inside_file(site, inner, path, entry),
                Some(Bound::List(_)) => self.refuse(site, list_here(name, entry.at, "this")),
                Some(Bound::Absent) => Bound::Absent,
                Some(Bound::Wrong) => Bound::Wrong,
                _ => self.refuse(site, absent_step(name, entry.at)),
            };
        }
        Bound::Step(Ref {
            scope: site.scope,
            name: name.to_owned(),
            path: path.to_owned(),
            cell: site.cell.clone(),
            of: site.of,
            chosen: named.pattern,
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
            Bound::Input(_) | Bound::Step(_) | Bound::Output(_) | Bound::List(_) | Bound::Cells(_) => {
                self.report(site.scope, value::wrong_type(entry, kind, what));
                None
            }
        }
    }

    /// What an entry means where several values may stand: a list parameter gives all of its own.
    pub fn spread(&mut self, site: &Site, entry: &'d Entry, kind: Kind, what: &str) -> Vec<Bound> {
        let named = entry.text().filter(|_| entry.annotated() == Some("param"));
        let list = named.and_then(|name| self.scopes[site.scope].params.get(name));
        let Some(Bound::List(items)) = list.cloned() else {
            return vec![self.bind(site, entry, kind, what)];
        };
        let one = |item| match item {
            Bound::Value(value) => self.fit(site, value, entry, kind, what),
            item => item,
        };
        items.into_iter().map(one).collect()
    }

    /// The plain values for which an entry stands: one, or those of a list.
    pub fn values(&mut self, site: &Site, entry: &'d Entry, kind: Kind, what: &str) -> Vec<Spanned<Value>> {
        let mut values = Vec::new();
        for bound in self.spread(site, entry, kind, what) {
            match bound {
                Bound::Value(value) => values.push(value),
                Bound::Absent | Bound::Wrong => {}
                _ => self.report(site.scope, value::wrong_type(entry, kind, what)),
            }
        }
        values
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
            Bound::Value(_) | Bound::Output(_) | Bound::List(_) | Bound::Cells(_) => {
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

    /// A piece of a command line.
    pub fn arg(&mut self, reader: usize, site: &Site, entry: &'d Entry, what: &str) -> Option<Spanned<Arg>> {
        let bound = self.bind(site, entry, Kind::Arg, what);
        self.arg_of(reader, site, entry, what, bound)
    }

    /// The pieces of a command line for which an entry stands: one, or those of a list.
    pub fn args(&mut self, reader: usize, site: &Site, entry: &'d Entry, what: &str) -> Option<Vec<Spanned<Arg>>> {
        let bounds = self.spread(site, entry, Kind::Arg, what);
        bounds.into_iter().map(|bound| self.arg_of(reader, site, entry, what, bound)).collect()
    }

    fn arg_of(
        &mut self,
        reader: usize,
        site: &Site,
        entry: &'d Entry,
        what: &str,
        bound: Bound,
    ) -> Option<Spanned<Arg>> {
        match bound {
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
            Bound::List(_) | Bound::Cells(_) => {
                self.report(site.scope, value::wrong_type(entry, Kind::Arg, what));
                None
            }
            Bound::Wrong => None,
        }
    }

    /// Decides a `when`: every parameter or axis that it names has the value, or is given.
    pub fn holds(&self, site: &Site, when: &'d Node) -> bool {
        debug_assert_eq!(when.name.text, WHEN);
        when.entries.iter().all(|entry| match &entry.key {
            None => entry.text().is_some_and(|name| match self.known(site, name) {
                None | Some(Bound::Absent) => false,
                Some(Bound::List(items)) => !items.is_empty(),
                Some(_) => true,
            }),
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
            HOST_GPU => Some(self.facts.gpu.as_str()),
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
    let declare = || format!("declare it: `param \"{name}\" …`");
    fault.at(at, "not declared").help(suggest_or(name, known, "there are", declare))
}

/// "`flags` is a list".
pub fn list_here(name: &str, at: At, what: &str) -> Diagnostic {
    let fault = Diagnostic::error("pipe::list-here", format!("{what} is one value, and `{name}` is a list"));
    let help = "a list can stand where any number of values can: behind `run`, `tools` and `entrypoint`, in an axis, or \
                as a list parameter of a recipe";
    fault.at(at, "a list").help(help)
}

/// "there is no step `x`".
pub fn unknown_step(name: &str, at: At, known: Vec<&str>) -> Diagnostic {
    let fault = Diagnostic::error("pipe::unknown-step", format!("there is no step `{name}`"));
    fault.at(at, "no step of this name").maybe_help(suggest(name, known, "there are"))
}

/// "step `x` is not made": one that is declared, or the checker would have told.
pub fn absent_step(name: &str, at: At) -> Diagnostic {
    let fault = Diagnostic::error("pipe::absent-step", format!("step `{name}` is not made with these values"));
    let help = format!("its `when` does not hold: put what uses `{name}` into the same `when`");
    fault.at(at, "used here").help(help)
}

/// "there is no axis here".
pub fn no_axis_here(name: &str, at: At, in_recipe: bool) -> Diagnostic {
    if in_recipe {
        let fault = Diagnostic::error("pipe::axis-in-recipe", "a recipe sees no axes of who uses it");
        let help = format!("declare `param \"{name}\"` here, and give it `{name}=(axis)\"{name}\"` where it is used");
        return fault.at(at, "only a step of the pipeline has axes").help(help);
    }
    let fault = Diagnostic::error("pipe::axis-without-matrix", format!("there is no axis `{name}` here"));
    fault.at(at, "no matrix gives it a value").help("a step has axes where it says `for-each=\"MATRIX\"`")
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
