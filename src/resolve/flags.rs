//! The pipeline's parameters: their values in the file, or those that flags give them.

use super::expand::Expander;
use super::scope::{Bound, Scope, Site};
use super::world::{ParamDecl, Preset};
use super::{Kind, Options, value};
use crate::diag::{Diagnostic, suggest};
use crate::pipeline::{Input, Origin, Spanned};

impl Scope<'_> {
    /// The names of the pipeline itself.
    pub fn top() -> Self {
        Scope {
            module: 0,
            instance: None,
            result: None,
            params: Default::default(),
            names: Default::default(),
            cell: None,
            recipe: None,
            export: None,
            trail: Vec::new(),
        }
    }
}

impl<'d> Expander<'d, '_> {
    /// Gives every parameter of the pipeline its value.
    pub fn parameters(&mut self, params: &[ParamDecl<'d>], options: &Options) {
        for (name, text) in &options.sets {
            if !params.iter().any(|param| param.name == name) {
                let fault = Diagnostic::error(
                    "pipe::unknown-parameter",
                    format!("`--set {name}={text}`: there is no parameter `{name}`"),
                );
                let help = suggest(name, params.iter().map(|param| param.name), "the pipeline has");
                self.report(0, fault.help(help.unwrap_or_else(|| "the pipeline has no parameters".to_owned())));
            }
        }
        for param in params {
            let set = options.sets.iter().rev().find(|(name, _)| name == param.name);
            let bound = match set {
                Some((_, text)) => self.flag(param, text),
                None => self.in_file(param),
            };
            let bound = self.filtered_bound(&Site { scope: 0, cell: None, of: None }, param.node, bound);
            self.scopes[0].params.insert(param.name, bound);
        }
    }

    fn in_file(&mut self, param: &ParamDecl<'d>) -> Bound {
        let site = Site { scope: 0, cell: None, of: None };
        match param.default {
            Preset::Value(entry) => {
                let bound = self.bind(&site, entry, param.kind, &format!("`{}`", param.name));
                if let Bound::Value(value) = &bound
                    && let Some((code, message, help)) = param.refuse(&value.value)
                {
                    self.report(0, Diagnostic::error(code, message).at(entry.at, "here").maybe_help(help));
                    return Bound::Wrong;
                }
                bound
            }
            _ if param.optional => Bound::Absent,
            _ => {
                let name = param.name;
                let fault = Diagnostic::error("pipe::missing-parameter", format!("parameter `{name}` has no value"));
                let help = format!("give it one: `--set {name}=…`, or a value behind its name in the file");
                self.report(0, fault.at(param.at, "declared here").help(help));
                Bound::Wrong
            }
        }
    }

    fn flag(&mut self, param: &ParamDecl<'d>, text: &str) -> Bound {
        let name = param.name;
        let flag = format!("--set {name}={text}");
        let origin = Origin::Flag(flag.clone());
        if matches!(param.kind, Kind::File | Kind::Input) {
            return match self.loader.file_of_flag(text) {
                Some(input) => Bound::Input(Spanned { value: input, origin }),
                None => {
                    let fault = Diagnostic::error("pipe::missing-path", format!("`{flag}`: nothing lies at `{text}`"));
                    let fault = fault.at(param.at, "the parameter that it sets");
                    self.report(0, fault.help("a path in a flag is relative to the folder that you are in"));
                    Bound::Wrong
                }
            };
        }
        let Some(value) = value::from_flag(text, param.kind) else {
            let kind = param.kind;
            let fault = Diagnostic::error("pipe::wrong-type", format!("`{flag}`: `{name}` is {}", kind.describe()));
            let example = match kind {
                Kind::Size => "6GiB",
                Kind::Time => "30s",
                Kind::Percent => "2%",
                Kind::Bool => "true",
                other => other.example(),
            };
            let fault = fault.at(param.at, "the parameter that it sets");
            self.report(0, fault.help(format!("write `--set {name}={example}`")));
            return Bound::Wrong;
        };
        if let Some((code, message, help)) = param.refuse(&value) {
            let fault = Diagnostic::error(code, format!("`{flag}`: {message}"));
            self.report(0, fault.at(param.at, "the parameter that it sets").maybe_help(help));
            return Bound::Wrong;
        }
        Bound::Value(Spanned { value, origin })
    }
}

/// What a person calls an input.
pub fn input_name(input: &Input) -> String {
    match input {
        Input::File { name, .. } | Input::Embedded { name, .. } => name.clone(),
        Input::Step { path, .. } => path.clone(),
        Input::EngineSources => "engine-sources".to_owned(),
        Input::Secret { name } => format!("secret {name}"),
    }
}
