//! `pipe parity-bisect`: finds the node where an ONNX model departs from its reference, and prints the search.
//!
//! It is a pipeline of one step, the recipe `parity-bisect`, written beside what it gives back, so that it is kept to
//! what it declares and cached as any other. This file knows neither ONNX nor torch.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};
use serde_json::Value;

use super::fulfil::told;
use super::output::{Format, note, print};
use super::{Global, exit, run};

const PIPELINE: &str = include_str!("parity_bisect/pipeline.kdl");

/// The flags of `pipe parity-bisect`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["reference", "torch"]), after_help = AFTER)]
pub struct Arguments {
    /// The model: an ONNX file, or a folder with one and the file of its weights
    model: PathBuf,
    /// Another export of the same model, whose tensors have the same names; or a program that torch.export saved
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// The function that made the model, as for `pipe init --python`: its module runs in torch, in fp32
    #[arg(long, value_name = "FILE:FUNCTION")]
    torch: Option<String>,
    /// A folder with a .npy file for each input [default: what the function returns, else numbers from a seed]
    #[arg(long, value_name = "FOLDER")]
    inputs: Option<PathBuf>,
    /// Size of a first dimension that is free, of inputs from a seed
    #[arg(long, value_name = "N")]
    batch: Option<u32>,
    /// Sizes of other free dimensions, as 'height=224 width=224'
    #[arg(long, value_name = "SIZES")]
    dims: Option<String>,
    /// Whole numbers of inputs from a seed are less than this [default: 2]
    #[arg(long, value_name = "N")]
    integers_below: Option<u32>,
    /// Inputs come from it
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// A tensor departs where it is further off than this … [default: 1e-6]
    #[arg(long, value_name = "X", value_parser = bound)]
    max_abs: Option<String>,
    /// … and this part of the reference's largest value together [default: 1e-4]
    #[arg(long, value_name = "X", value_parser = bound)]
    max_rel: Option<String>,
    /// Compares every tensor, and names each node whose inputs agree and whose output does not
    #[arg(long)]
    all: bool,
    /// Where ONNX Runtime and torch come from: a lock, or this machine's packages
    #[arg(long, value_enum, default_value_t = Python::Locked)]
    python: Python,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// `--python`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Python {
    Locked,
    Host,
}

const AFTER: &str = "\
Each probe cuts the model in two and compares all that the first part hands to the second, in as many probes as halving \
takes. Both sides run on the CPU from the same inputs, ONNX with ONNX Runtime's optimisations off.

The reference is another ONNX file, tensors matched by their names; or a module of torch, exported again, its nodes run \
one by one in torch, tensors matched by the names that torch's exporter gives them.

What is found is a node whose inputs agree and whose output does not, whatever errors do on their way. What is assumed is \
that the cause has an effect on the outputs: an error that is gone again by a cut is not seen there. --all sees it.

Exit code: 0 no node departs, 1 one does, 3 the two can't be compared, with the reason.";

/// A bound is a number, 0 or more.
fn bound(text: &str) -> Result<String, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(text.to_owned()),
        _ => Err("a bound is a number, 0 or more".to_owned()),
    }
}

/// Searches, and prints what came out.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    search(global, arguments).unwrap_or_else(|(code, message)| {
        note(&format!("pipe: {message}"));
        code
    })
}

fn search(global: &Global, arguments: &Arguments) -> Result<u8, (u8, String)> {
    let sets = sets(arguments).map_err(|message| (exit::USAGE, message))?;
    let file = global.out.join("parity-bisect.kdl");
    let written = std::fs::create_dir_all(&global.out).and_then(|()| std::fs::write(&file, PIPELINE));
    written.map_err(|error| (exit::FAULT, format!("`{}` can't be written: {error}", file.display())))?;
    let words = ["pipe".to_owned()].into_iter().chain(sets.iter().map(|set| format!("--set={set}")));
    let words: Vec<_> = words.map(Into::into).chain(["--".into(), file.into_os_string()]).collect();
    let code = run::main(global, &told(&words).map_err(|message| (exit::FAULT, message))?);
    if code != exit::DONE {
        return Ok(code);
    }
    let made = global.out.join("parity-bisect/search");
    let read = |name: &str| {
        let path = made.join(name);
        let fault = |error| (exit::FAULT, format!("`{}` can't be read: {error}", path.display()));
        std::fs::read_to_string(&path).map_err(fault)
    };
    let document = read("bisect.json")?;
    match arguments.format {
        Format::Text => print(&read("bisect.txt")?),
        Format::Json => print(&document),
    }
    match serde_json::from_str::<Value>(&document).ok().as_ref().and_then(|found| found["verdict"].as_str()) {
        Some("agrees") => Ok(exit::DONE),
        Some("departs" | "drifts") => Ok(exit::JUDGED),
        _ => Err((exit::FAULT, format!("`{}` has no verdict", made.join("bisect.json").display()))),
    }
}

/// The parameters of the pipeline, as `--set` takes them.
fn sets(arguments: &Arguments) -> Result<Vec<String>, String> {
    let mut sets = vec![format!("model={}", there("MODEL", &arguments.model)?)];
    if let Some(path) = &arguments.reference {
        sets.push(format!("reference={}", there("--reference", path)?));
    }
    if let Some(torch) = &arguments.torch {
        let Some((file, function)) = torch.rsplit_once(':').filter(|(file, name)| !file.is_empty() && !name.is_empty())
        else {
            return Err(format!("`--torch {torch}` needs a file and a function: `--torch net.py:make`"));
        };
        sets.push(format!("script={}", there("--torch", Path::new(file))?));
        sets.push(format!("function={function}"));
    }
    if let Some(path) = &arguments.inputs {
        sets.push(format!("inputs={}", there("--inputs", path)?));
        if !path.is_dir() {
            return Err(format!(
                "`--inputs {}` is no folder; give one with a .npy file for each input",
                path.display()
            ));
        }
    }
    let numbers = [("batch", arguments.batch), ("integers-below", arguments.integers_below), ("seed", arguments.seed)];
    sets.extend(numbers.into_iter().filter_map(|(name, number)| Some(format!("{name}={}", number?))));
    let texts = [("dims", &arguments.dims), ("max-abs", &arguments.max_abs), ("max-rel", &arguments.max_rel)];
    sets.extend(texts.into_iter().filter_map(|(name, text)| Some(format!("{name}={}", text.as_ref()?))));
    if arguments.all {
        sets.push("all=true".to_owned());
    }
    if arguments.python == Python::Host {
        sets.push("python=host".to_owned());
    }
    Ok(sets)
}

/// The text of a path at which something lies.
fn there<'p>(flag: &str, path: &'p Path) -> Result<&'p str, String> {
    match path.to_str() {
        Some(text) if path.exists() => Ok(text),
        Some(_) => Err(format!("{flag}: nothing lies at `{}`", path.display())),
        None => Err(format!("{flag}: `{}` is no path in UTF-8", path.display())),
    }
}
