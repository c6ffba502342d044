//! `pipe recipes`: what the standard library offers, or what a pipeline sees, with parameters and an example.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::explain_code::{Paint, more, wrap};
use super::output::{Format, To, colour, note, print, width};
use super::{Global, exit, load};
use crate::diag;
use crate::resolve::{self, Kind, ParamDoc, RecipeDoc};

/// The flags of `pipe recipes`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// One recipe, with its parameters and an example; without it, all are listed
    name: Option<String>,
    /// A pipeline, or a file of recipes: the recipes that it sees, in place of the standard library's
    #[arg(long = "in", value_name = "FILE")]
    file: Option<PathBuf>,
    /// How they are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Prints recipes.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    let mut recipes = match &arguments.file {
        None => resolve::std_recipes(),
        Some(file) => {
            let disk = match load::disk() {
                Ok(disk) => disk,
                Err(code) => return code,
            };
            let (recipes, diagnostics) = resolve::recipes_of(file, &disk);
            if diagnostics.has_errors() {
                note(&diagnostics.render(colour(global.color, To::Err), width()));
                more(&diagnostics).iter().for_each(|line| note(line));
                return exit::USAGE;
            }
            recipes
        }
    };
    if let Some(name) = &arguments.name {
        let known: Vec<String> = recipes.iter().map(|recipe| recipe.name.clone()).collect();
        recipes.retain(|recipe| recipe.name == *name);
        if recipes.is_empty() {
            note(&format!("pipe: there is no recipe `{name}`{}", place(arguments)));
            let help = diag::suggest(name, known.iter().map(String::as_str), "there are");
            note(&format!(
                "  help: {}",
                help.unwrap_or_else(|| "`pipe recipes` lists those of the standard library".into())
            ));
            return exit::USAGE;
        }
    }
    let paint = Paint { on: colour(global.color, To::Out) };
    print(&match (arguments.format, &recipes[..], &arguments.name) {
        (Format::Json, _, _) => format!("{:#}\n", document(&recipes)),
        (Format::Text, [recipe], Some(_)) => one(recipe, &paint, width().min(100)),
        (Format::Text, [], _) => format!("no recipes{}\n", place(arguments)),
        (Format::Text, _, _) => list(&recipes, &paint),
    });
    exit::DONE
}

fn place(arguments: &Arguments) -> String {
    match &arguments.file {
        Some(file) => format!(" in `{}`", file.display()),
        None => " in the standard library".to_owned(),
    }
}

/// A line for each recipe, below the file that has it.
fn list(recipes: &[RecipeDoc], paint: &Paint) -> String {
    let mut homes: Vec<&str> = recipes.iter().map(|recipe| recipe.home.as_str()).collect();
    homes.sort_unstable();
    homes.dedup();
    let widest = recipes.iter().map(|recipe| recipe.name.chars().count()).max().unwrap_or(0);
    let mut out = String::from("`pipe recipes NAME` shows the parameters of a recipe, and an example.\n");
    for home in homes {
        out += &format!("\n{}\n", paint.bold(home));
        for recipe in recipes.iter().filter(|recipe| recipe.home == home) {
            let gap = " ".repeat(widest - recipe.name.chars().count());
            let about = recipe.about.as_deref().unwrap_or_default();
            out += format!("  {}{gap}  {}", paint.code(&recipe.name), paint.inline(about)).trim_end();
            out.push('\n');
        }
    }
    out
}

/// All about one recipe.
fn one(recipe: &RecipeDoc, paint: &Paint, width: usize) -> String {
    let mut out = format!("{}\n", paint.bold(&recipe.name));
    let mut paragraph = |text: &str, indent: &str| {
        let lines = wrap(text, width.saturating_sub(indent.len()));
        out += &format!("{indent}{}\n", paint.inline(&lines.join(&format!("\n{indent}"))));
    };
    if let Some(about) = &recipe.about {
        paragraph(about, "");
    }
    paragraph(&format!("from `{}`", recipe.home), "");
    if !recipe.params.is_empty() {
        out += &format!("\n{}\n", paint.bold("Parameters"));
    }
    for param in &recipe.params {
        out += &format!("  {}  {}\n", paint.code(&param.name), describe(param));
        if let Some(about) = &param.about {
            let lines = wrap(about, width.saturating_sub(6));
            out += &format!("      {}\n", paint.inline(&lines.join("\n      ")));
        }
    }
    if let Some(result) = &recipe.result {
        out += &format!("\n{}\n  {}\n", paint.bold("Output"), paint.inline(&format!("of a `{result}`")));
    }
    for output in &recipe.outputs {
        let about = output.about.as_deref().map(|about| format!("  {}", paint.inline(about))).unwrap_or_default();
        out += &format!("  {}{about}\n", paint.code(&output.path));
    }
    out += &format!("\n{}\n", paint.bold("Example"));
    let example = recipe.example.map_or_else(|| call(recipe), str::to_owned);
    example.lines().for_each(|line| out += &format!("{}\n", format!("    {line}").trim_end()));
    out
}

/// `int, at least 1; 64 unless said`.
pub fn describe(param: &ParamDoc) -> String {
    let mut words = param.kind.name().to_owned();
    if param.kind == Kind::Any {
        words = "any value".to_owned();
    }
    if !param.choices.is_empty() {
        words = param.choices.join(" | ");
    }
    if param.many {
        words += ", one or more";
    }
    let bound = |word: &str, bound: &Option<String>| bound.as_ref().map(|bound| format!(", {word} {bound}"));
    words += &bound("at least", &param.min).unwrap_or_default();
    words += &bound("at most", &param.max).unwrap_or_default();
    match (&param.default, &param.default_step) {
        (Some(default), _) => format!("{words}; {default} unless said"),
        (None, Some(node)) => format!("{words}; a `{node}` of its own unless said"),
        (None, None) if param.optional => format!("{words}; may be left out"),
        (None, None) => format!("{words}; required"),
    }
}

/// A use of a recipe that has no example.
fn call(recipe: &RecipeDoc) -> String {
    let value = |param: &ParamDoc| match (param.choices.first(), param.kind) {
        (Some(choice), Kind::Text) => format!("\"{choice}\""),
        (Some(choice), _) => choice.clone(),
        (None, kind) => kind.example().to_owned(),
    };
    let given = recipe.params.iter().filter(|param| param.required());
    let given: String = given.map(|param| format!(" {}={}", param.name, value(param))).collect();
    format!("{} \"NAME\"{given}", recipe.name)
}

/// Recipes as `pipe recipes --format json` and `pipe schema` write them.
pub fn document(recipes: &[RecipeDoc]) -> Value {
    json!({ "format": "pipe-recipes", "version": 1, "recipes": recipes.iter().map(as_json).collect::<Vec<_>>() })
}

/// One recipe.
pub fn as_json(recipe: &RecipeDoc) -> Value {
    let param = |param: &ParamDoc| {
        json!({
            "name": param.name,
            "doc": param.about,
            "kind": param.kind.name(),
            "required": param.required(),
            "optional": param.optional,
            "many": param.many,
            "default": param.default,
            "default_step": param.default_step,
            "choices": param.choices,
            "min": param.min,
            "max": param.max,
        })
    };
    let output = |output: &resolve::OutputDoc| json!({ "path": output.path, "doc": output.about });
    json!({
        "name": recipe.name,
        "use": recipe.home,
        "doc": recipe.about,
        "parameters": recipe.params.iter().map(param).collect::<Vec<_>>(),
        "result": recipe.result,
        "outputs": recipe.outputs.iter().map(output).collect::<Vec<_>>(),
        "example": recipe.example.map_or_else(|| call(recipe), str::to_owned),
    })
}
