//! The pipeline's parameters: their values in the file, those of the chosen profile, or those that flags give.

use std::collections::BTreeMap;

use super::eval::unknown_param;
use super::expand::Expander;
use super::scope::{Bound, Scope, Site};
use super::world::{ParamDecl, Preset, ProfileDecl};
use super::{Kind, Options, value};
use crate::diag::{Diagnostic, suggest_or};
use crate::pipeline::{FromProfile, Input, Origin, Spanned};
use crate::syntax::Entry;

impl Scope<'_> {
    /// The names of the pipeline itself.
    pub fn top() -> Self {
        Scope {
            module: 0,
            instance: None,
            result: None,
            params: Default::default(),
            names: Default::default(),
            declared: Default::default(),
            cell: None,
            recipe: None,
            export: None,
            trail: Vec::new(),
        }
    }
}

impl<'d> Expander<'d, '_> {
    /// Gives every parameter of the pipeline its value: a flag's, else the profile's, else the file's.
    pub fn parameters(&mut self, params: &[ParamDecl<'d>], profiles: &[ProfileDecl<'d>], options: &Options) {
        for (name, text) in &options.sets {
            if !params.iter().any(|param| param.name == name) {
                let fault = Diagnostic::error(
                    "pipe::unknown-parameter",
                    format!("`--set {name}={text}`: there is no parameter `{name}`"),
                );
                let known = params.iter().map(|param| param.name).collect();
                let none = || "the pipeline has no parameters".to_owned();
                self.report(0, fault.help(suggest_or(name, known, "the pipeline has", none)));
            }
        }
        let chosen = options.profile.as_deref().and_then(|name| self.chosen(profiles, name));
        // Every profile is checked, or it would rot until somebody chooses it.
        let mut given: BTreeMap<&str, Bound> = BTreeMap::new();
        for profile in profiles {
            let values = self.profile(profile, params);
            if chosen == Some(profile.name) {
                given = values;
            }
        }
        for param in params {
            let sets: Vec<&str> =
                options.sets.iter().filter(|(name, _)| name == param.name).map(|(_, text)| text.as_str()).collect();
            let bound = match (sets.last(), given.remove(param.name)) {
                (Some(_), _) if param.many => self.flags(param, &sets),
                (Some(text), _) => self.flag(param, text, &format!("--set {}={text}", param.name)),
                (None, Some(bound)) => bound,
                (None, None) => self.in_file(param),
            };
            let bound = self.filtered_bound(&Site { scope: 0, cell: None, of: None }, param.node, bound);
            self.scopes[0].params.insert(param.name, bound);
        }
    }

    fn chosen(&mut self, profiles: &[ProfileDecl<'d>], name: &str) -> Option<&'d str> {
        if let Some(profile) = profiles.iter().find(|profile| profile.name == name) {
            return Some(profile.name);
        }
        let fault = Diagnostic::error("pipe::unknown-profile", format!("`--profile {name}`: there is no such profile"));
        let known = profiles.iter().map(|profile| profile.name).collect();
        let none = || format!("the pipeline has none; declare it: `profile \"{name}\" {{ PARAMETER VALUE; }}`");
        self.report(0, fault.help(suggest_or(name, known, "the pipeline has", none)));
        None
    }

    /// The values of a profile, held against the parameters.
    fn profile(&mut self, profile: &ProfileDecl<'d>, params: &[ParamDecl<'d>]) -> BTreeMap<&'d str, Bound> {
        let mut values: BTreeMap<&'d str, Bound> = BTreeMap::new();
        for (word, entries) in &profile.values {
            let Some(param) = params.iter().find(|param| param.name == word.text) else {
                let fault = unknown_param(&word.text, word.at, params.iter().map(|param| param.name).collect());
                self.report(0, fault);
                continue;
            };
            if values.contains_key(param.name) {
                let fault = Diagnostic::error("pipe::duplicate-setting", format!("`{}` is set twice", param.name));
                self.report(0, fault.at(word.at, "the second time").help("take one away"));
                continue;
            }
            let amount = match (param.many, entries.len()) {
                (false, 0) => Some("it needs one value"),
                (false, 2..) => Some("it has one value, and is no list"),
                _ => None,
            };
            if let Some(amount) = amount {
                let fault = Diagnostic::error("pipe::missing-value", format!("`{}` has exactly one value", word.text));
                let at = entries.get(1).map_or(word.at, |entry| entry.at);
                self.report(0, fault.at(at, amount).help(format!("write `{} {}`", word.text, param.example())));
                continue;
            }
            let mut items: Vec<Bound> = entries.iter().map(|entry| self.of_profile(profile, param, entry)).collect();
            let bound = match param.many {
                _ if items.iter().any(|item| matches!(item, Bound::Wrong)) => Bound::Wrong,
                true => Bound::List(items),
                false => items.pop().unwrap_or(Bound::Wrong),
            };
            values.insert(param.name, bound);
        }
        values
    }

    fn of_profile(&mut self, profile: &ProfileDecl<'d>, param: &ParamDecl<'d>, entry: &'d Entry) -> Bound {
        let site = Site { scope: 0, cell: None, of: None };
        let what = format!("`{}`", param.name);
        let file = entry.annotated() == Some("file") && param.kind.takes_file();
        if let Some(meaning) = entry.annotated().filter(|word| !file && !value::UNITS.contains(word)) {
            let fault = Diagnostic::error("pipe::misplaced-annotation", "a profile holds plain values");
            let fault = fault.at(entry.at, format!("`({meaning})` means nothing here"));
            return self
                .refuse(&site, fault.help(format!("write {}, as `{}`", param.kind.describe(), param.kind.example())));
        }
        let mut bound = self.bind(&site, entry, param.kind, &what);
        bound = self.fitting_value(&site, param, entry, bound);
        let from = FromProfile {
            flag: format!("--profile {}", profile.name),
            source: entry.at.source,
            start: entry.at.start,
            end: entry.at.end,
        };
        let origin = Origin::Profile(Box::new(from));
        match &mut bound {
            Bound::Value(value) => value.origin = origin,
            Bound::Input(input) => input.origin = origin,
            _ => {}
        }
        bound
    }

    fn in_file(&mut self, param: &ParamDecl<'d>) -> Bound {
        let site = Site { scope: 0, cell: None, of: None };
        let what = format!("`{}`", param.name);
        match param.default {
            Preset::Value(entry) if !param.many => {
                let bound = self.bind(&site, entry, param.kind, &what);
                self.fitting_value(&site, param, entry, bound)
            }
            Preset::Value(_) => {
                let bind = |entry: &&'d Entry| {
                    let bound = self.bind(&site, entry, param.kind, &what);
                    self.fitting_value(&site, param, entry, bound)
                };
                let items: Vec<Bound> = param.values.iter().map(bind).collect();
                match items.iter().any(|item| matches!(item, Bound::Wrong)) {
                    true => Bound::Wrong,
                    false => Bound::List(items),
                }
            }
            _ if param.optional && param.many => Bound::List(Vec::new()),
            _ if param.optional => Bound::Absent,
            _ => {
                let name = param.name;
                let fault = Diagnostic::error("pipe::unset-parameter", format!("parameter `{name}` has no value"));
                let help = format!("give it one: `--set {name}=…`, or a value behind its name in the file");
                self.report(0, fault.at(param.at, "declared here").help(help));
                Bound::Wrong
            }
        }
    }

    /// A list: the values of all its flags, at commas too.
    fn flags(&mut self, param: &ParamDecl<'d>, texts: &[&str]) -> Bound {
        let mut items = Vec::new();
        for text in texts {
            let flag = format!("--set {}={text}", param.name);
            for piece in pieces(text) {
                match self.flag(param, &piece, &flag) {
                    Bound::Wrong => return Bound::Wrong,
                    bound => items.push(bound),
                }
            }
        }
        Bound::List(items)
    }

    /// One value of a flag that was written as `flag`.
    fn flag(&mut self, param: &ParamDecl<'d>, text: &str, flag: &str) -> Bound {
        let name = param.name;
        let origin = Origin::Flag(flag.to_owned());
        if matches!(param.kind, Kind::File | Kind::Input) {
            return match self.loader.file_of_flag(text) {
                Some(input) => Bound::Input(Spanned { value: input, origin }),
                None => {
                    let fault =
                        Diagnostic::error("pipe::missing-path-in-flag", format!("`{flag}`: nothing lies at `{text}`"));
                    let fault = fault.at(param.at, "the parameter that it sets");
                    self.report(0, fault.help("a path in a flag is relative to the folder that you are in"));
                    Bound::Wrong
                }
            };
        }
        let Some(value) = value::from_flag(text, param.kind) else {
            let kind = param.kind;
            let fault =
                Diagnostic::error("pipe::wrong-flag-value", format!("`{flag}`: `{name}` is {}", kind.describe()));
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

/// The values of a list in a flag: parted by commas; `\,` is a comma of a value, and `\\` a backslash.
fn pieces(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut pieces = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ',' => pieces.push(String::new()),
            '\\' if matches!(letters.peek(), Some(',' | '\\')) => {
                let next = letters.next();
                pieces.last_mut().into_iter().for_each(|piece| piece.extend(next));
            }
            letter => pieces.last_mut().into_iter().for_each(|piece| piece.push(letter)),
        }
    }
    pieces
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_parts_the_values_of_a_flag_unless_it_is_escaped() {
        assert_eq!(pieces("1,8"), ["1", "8"]);
        assert_eq!(pieces("a\\,b,c\\\\"), ["a,b", "c\\"]);
        assert_eq!(pieces("C:\\x"), ["C:\\x"]);
        assert_eq!(pieces(",a"), ["", "a"]);
        assert!(pieces("").is_empty());
    }
}
