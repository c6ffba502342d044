//! `pipe init`: writes a small pipeline beside a model, and checks it before it says so.

mod onnx;

use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use clap::Args;

use self::onnx::{Dim, Input, Model};
use super::output::{To, colour, note, print, width};
use super::{Global, exit, load};
use crate::diag;
use crate::host::probe;
use crate::resolve;

const HELLO: &str = include_str!("init/hello.kdl");
const ONNX: &str = include_str!("init/onnx.kdl");
const PYTHON: &str = include_str!("init/python.kdl");

/// The size that a free dimension gets which is no batch.
const GUESS: u32 = 64;

/// The flags of `pipe init`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A pipeline for this ONNX model
    #[arg(long, value_name = "FILE")]
    onnx: Option<PathBuf>,
    /// A pipeline for the model that this function makes: it returns a torch.nn.Module and example inputs
    #[arg(long, value_name = "FILE:FUNCTION")]
    python: Option<String>,
    /// Where to write it [default: beside the model, under its name; without a model pipeline.kdl]
    #[arg(short, long, value_name = "FILE.kdl")]
    output: Option<PathBuf>,
    /// Writes over a file that is there
    #[arg(long)]
    force: bool,
}

/// Why there is no pipeline, and what to do about it.
struct Refused {
    why: String,
    help: String,
}

fn refused<T>(why: impl Into<String>, help: impl Into<String>) -> Result<T, Refused> {
    Err(Refused { why: why.into(), help: help.into() })
}

/// What is to be written, and in a line what it is about.
struct Draft {
    path: PathBuf,
    text: String,
    about: String,
}

/// Writes the pipeline, if it is a sound one.
pub fn main(global: &Global, arguments: &Arguments) -> u8 {
    let draft = match draft(arguments) {
        Ok(draft) => draft,
        Err(refused) => {
            note(&format!("pipe: {}\n  help: {}", refused.why, refused.help));
            return exit::USAGE;
        }
    };
    match write(global, &draft, arguments.force) {
        Ok(()) => {
            let path = draft.path.display();
            print(&format!("{path} is written: {}\nnext: pipe run {}", draft.about, for_shell(&draft.path)));
            exit::DONE
        }
        Err(code) => code,
    }
}

fn draft(arguments: &Arguments) -> Result<Draft, Refused> {
    let output = arguments.output.as_deref();
    if let Some(path) = output.filter(|path| path.extension().is_none_or(|extension| extension != "kdl")) {
        return refused(
            format!("`{}` would be no KDL file", path.display()),
            format!("give its name the ending .kdl: `--output {}`", path.with_extension("kdl").display()),
        );
    }
    match (&arguments.onnx, &arguments.python) {
        (Some(_), Some(_)) => refused(
            "`--onnx` and `--python` each make a pipeline of their own",
            "give one of them, and call `pipe init` again for the other",
        ),
        (Some(model), None) => for_onnx(model, output),
        (None, Some(model)) => for_python(model, output),
        (None, None) => {
            let path = output.unwrap_or(Path::new("pipeline.kdl")).to_owned();
            let text = fill(HELLO, &[("file", &plain(&path)), ("name", &quoted(&name(&path)))]);
            Ok(Draft { path, text, about: "two cells without a model; `--onnx` and `--python` bring one".to_owned() })
        }
    }
}

fn for_onnx(model: &Path, output: Option<&Path>) -> Result<Draft, Refused> {
    is_file(model, "--onnx")?;
    let found = match onnx::read(model) {
        Ok(Some(found)) => found,
        Ok(None) => return not_onnx(model),
        Err(error) => return refused(format!("`{}` can't be read: {error}", model.display()), "see who may read it"),
    };
    if found.inputs.is_empty() {
        return refused(
            format!("the model `{}` takes no inputs", model.display()),
            "export it with inputs: what is always the same needs no measuring",
        );
    }
    for input in &found.inputs {
        if input.dtype().is_none() {
            return refused(
                format!("the input `{}` of `{}` holds what no engine here reads", input.name, model.display()),
                "tensors of bool, uint8, int8, int32, int64, float16, float32 and float64 are read: export the model \
                 without the part that takes texts, sequences or other types",
            );
        }
    }
    let path = output.map_or_else(|| model.with_extension("kdl"), Path::to_owned);
    let data = match data(model, &found)? {
        Some(name) => {
            let file = quoted(&beside(&path, &model.with_file_name(&name))?);
            format!(" data=(file){file} data-as={}", quoted(&name))
        }
        None => String::new(),
    };
    let (params, settings) = sizes(&found);
    let inputs = found.inputs.iter().map(shown).collect::<Vec<_>>().join(", ");
    let file = file_name(model);
    let about = format!("{file} on every place and device that this host offers");
    let text = fill(
        ONNX,
        &[
            ("shown", &file),
            ("file", &plain(&path)),
            ("name", &quoted(&name(&path))),
            ("about", &quoted(&about)),
            ("params", &params),
            ("inputs", &inputs),
            ("model", &quoted(&beside(&path, model)?)),
            ("data", &data),
            ("settings", &settings),
        ],
    );
    Ok(Draft { path, text, about: format!("{file} takes {inputs}") })
}

/// The one file beside the model that holds its weights, where they are not in it.
fn data(model: &Path, found: &Model) -> Result<Option<String>, Refused> {
    let shown = model.display();
    let mut names = found.data.iter();
    let (Some(name), rest) = (names.next(), names.count()) else {
        return Ok(None);
    };
    if rest > 0 {
        return refused(
            format!("`{shown}` keeps its weights in {} other files", rest + 1),
            "gather them in one: `onnx.save(onnx.load(\"MODEL\"), \"NEW\", save_as_external_data=True, \
             all_tensors_to_one_file=True, location=\"model.onnx.data\")`",
        );
    }
    if Path::new(name).components().any(|part| !matches!(part, Component::Normal(_))) {
        return refused(
            format!("`{shown}` keeps its weights in `{name}`, which is no path below its own folder"),
            "save it with a `location` that is a plain name",
        );
    }
    let file = model.with_file_name(name);
    match file.is_file() {
        true => is_file(&file, "--onnx").map(|()| Some(name.clone())),
        false => refused(
            format!("`{shown}` keeps its weights in `{name}`, and `{}` is not there", file.display()),
            "bring that file too: the model cannot run without it",
        ),
    }
}

/// Parameters for what the model leaves free, and the settings of `random-inputs` that use them.
fn sizes(found: &Model) -> (String, String) {
    let (mut batch, mut dims) = (false, Vec::new());
    for input in &found.inputs {
        for (place, dim) in input.shape.iter().enumerate() {
            let Dim::Free(dim) = dim else { continue };
            let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            match (place, plain(dim), plain(&input.name)) {
                (0, _, _) => batch = true,
                (_, true, _) => dims.push(format!("{dim}={GUESS}")),
                (_, false, true) => dims.push(format!("{}.{place}={GUESS}", input.name)),
                // The run names it, and asks for inputs of one's own.
                (_, false, false) => {}
            }
        }
    }
    dims.sort();
    dims.dedup();
    let (mut params, mut settings) = (String::new(), String::new());
    if batch {
        params += "param \"batch\" 1 min=1 about=\"items of one inference: the first dimension, which the model leaves free\"\n";
        settings += " batch=(param)\"batch\"";
    }
    if !dims.is_empty() {
        let about = "sizes of further dimensions that the model leaves free: set them to what you will use";
        params += &format!("param \"dims\" {} about={}\n", quoted(&dims.join(" ")), quoted(about));
        settings += " dims=(param)\"dims\"";
    }
    if found.inputs.iter().any(|input| input.dtype().is_some_and(|dtype| dtype.contains("int"))) {
        params += "param \"integers-below\" 2 min=1 about=\"whole numbers of the inputs are less than this: a vocabulary's size, for example\"\n";
        settings += " integers-below=(param)\"integers-below\"";
    }
    (params, settings)
}

/// `x float32 batch × 3`.
fn shown(input: &Input) -> String {
    let dims = input.shape.iter().map(|dim| match dim {
        Dim::Fixed(size) => size.to_string(),
        Dim::Free(name) if name.is_empty() => "any".to_owned(),
        Dim::Free(name) => name.clone(),
    });
    let text = format!("{} {} {}", input.name, input.dtype().unwrap_or_default(), dims.collect::<Vec<_>>().join(" × "));
    text.trim_end().chars().filter(|c| !c.is_control()).collect()
}

fn not_onnx(model: &Path) -> Result<Draft, Refused> {
    let start = start(model);
    let help = if start.starts_with(b"PK") {
        "it looks like a file of PyTorch or Keras: give the function that makes the model, `--python FILE.py:FUNCTION`"
    } else if start.starts_with(b"\x89HDF") || start.get(4..8) == Some(b"TFL3") {
        "it looks like a file of TensorFlow: convert it with `tf2onnx` first"
    } else if model.extension().is_some_and(|extension| extension == "py") {
        "a Python file is given with its function: `--python FILE.py:FUNCTION`"
    } else {
        "export the model again; `torch.onnx.export(model, example, \"model.onnx\")` makes one"
    };
    refused(format!("`{}` is no ONNX file", model.display()), help)
}

fn for_python(model: &str, output: Option<&Path>) -> Result<Draft, Refused> {
    let (path, function) = match model.rsplit_once(':') {
        Some((path, function)) => (Path::new(path), function),
        None => (Path::new(model), ""),
    };
    is_file(path, "--python")?;
    let unreadable = |why: &str| refused(format!("`{}` is no Python file: {why}", path.display()), "give a file.py");
    let text = match std::fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => return unreadable("it holds no text"),
        Err(error) => return refused(format!("`{}` can't be read: {error}", path.display()), "see who may read it"),
    };
    let functions = functions(&text);
    if !functions.contains(&function) {
        let why = match function {
            "" => format!("`--python {model}` names no function"),
            _ => format!("`{}` has no function `{function}`", path.display()),
        };
        let make = "write one: `def make(): return model, example`, a torch.nn.Module and its example inputs";
        let call = |function: &str| format!("`--python {}:{function}`", path.display());
        let help = match (diag::nearest(function, functions.iter().copied()), functions.first()) {
            (Some(near), _) => format!("did you mean {}?", call(near)),
            (None, Some(first)) => format!("it has {}: for example {}", diag::list(&functions), call(first)),
            (None, None) => make.to_owned(),
        };
        return refused(why, help);
    }
    let kdl = output.map_or_else(|| path.with_extension("kdl"), Path::to_owned);
    let shown = format!("`{function}` of {}", file_name(path));
    let text = fill(
        PYTHON,
        &[
            ("shown", &shown),
            ("file", &plain(&kdl)),
            ("name", &quoted(&name(&kdl))),
            ("about", &quoted(&format!("{shown} on every engine, place and device that this host offers"))),
            ("model", &quoted(&beside(&kdl, path)?)),
            ("function", &quoted(function)),
        ],
    );
    Ok(Draft { path: kdl, text, about: format!("the model that {shown} makes") })
}

/// The functions that a Python file defines at its outermost level.
fn functions(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("def ")?.split_once('('))
        .map(|(name, _)| name.trim())
        .filter(|name| !name.is_empty())
        .collect()
}

/// Refuses what is no file, or a stand-in for one.
fn is_file(path: &Path, flag: &str) -> Result<(), Refused> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refused(format!("`{shown}` is not there"), format!("give `{flag}` a path from the folder you are in"))
        }
        Err(error) => refused(format!("`{shown}` can't be read: {error}"), "see who may read it"),
        Ok(facts) if facts.is_dir() => refused(format!("`{shown}` is a folder"), "name the file in it"),
        Ok(_) if start(path).starts_with(b"version https://git-lfs") => refused(
            format!("`{shown}` is a pointer of Git LFS: the file itself was not fetched"),
            "run `git lfs pull` in its repository",
        ),
        Ok(_) => Ok(()),
    }
}

/// The first bytes of a file.
fn start(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut bytes));
    read.map(|_| bytes).unwrap_or_default()
}

/// The path of `file` as a pipeline at `kdl` names it.
fn beside(kdl: &Path, file: &Path) -> Result<String, Refused> {
    let real = |path: &Path| std::fs::canonicalize(if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let folder = kdl.parent().unwrap_or(Path::new(""));
    let Ok(from) = real(folder) else {
        return refused(format!("the folder `{}` is not there", folder.display()), "make it, or write elsewhere");
    };
    let Ok(to) = real(file) else {
        return refused(format!("`{}` is not there", file.display()), "it was, a moment ago");
    };
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| "..".into());
    let down = to.components().skip(shared).map(|part| part.as_os_str().to_string_lossy());
    let path = up.chain(down).collect::<Vec<std::borrow::Cow<'_, str>>>().join("/");
    match path.chars().any(char::is_control) {
        true => refused(format!("the name of `{}` holds odd characters", file.display()), "give it a plain one"),
        false => Ok(path),
    }
}

fn file_name(path: &Path) -> String {
    plain(Path::new(path.file_name().unwrap_or_default()))
}

/// A path as a shell takes it.
fn for_shell(path: &Path) -> String {
    let text = plain(path);
    match text.chars().all(|c| c.is_alphanumeric() || "._-/".contains(c)) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A path for a line of text.
fn plain(path: &Path) -> String {
    path.to_string_lossy().chars().filter(|c| !c.is_control()).collect()
}

/// The pipeline's name, after its file: it names a folder of reports, too.
fn name(kdl: &Path) -> String {
    let stem = kdl.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = stem.chars().map(plain).collect();
    match name.trim_matches(['.', '-']) {
        "" => "model".to_owned(),
        name => name.to_owned(),
    }
}

/// A KDL string.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Puts values into a template, in one pass: a value may look like a place for another.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let found = values.iter().find_map(|(name, value)| Some((value, after.strip_prefix(name)?.strip_prefix('}')?)));
        rest = match found {
            Some((value, after)) => {
                text.push_str(value);
                after
            }
            None => {
                text.push('{');
                after
            }
        };
    }
    text + rest
}

/// Writes the file whole or not at all, once `pipe check` would find nothing wrong with it.
fn write(global: &Global, draft: &Draft, force: bool) -> Result<(), load::Code> {
    let path = draft.path.display();
    let wrong = |error: &dyn std::fmt::Display| {
        note(&format!("pipe: `{path}` can't be written: {error}"));
        exit::FAULT
    };
    if draft.path.exists() && !force {
        note(&format!(
            "pipe: `{path}` is there already\n  help: `--force` writes over it, `--output FILE.kdl` elsewhere"
        ));
        return Err(exit::USAGE);
    }
    let folder = draft.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let machine = probe::probe().machine;
    let facts = load::asked(&machine, None);
    let files = Drafted { disk: load::disk()?, draft };
    let (_, found) = resolve::load(&draft.path, &resolve::Options::default(), &files, &facts);
    if !found.is_empty() {
        note(&found.render(colour(global.color, To::Err), width()));
        note(&format!("pipe: `{path}` is not written, for the pipeline would not be sound"));
        return Err(exit::USAGE);
    }
    let mut file = tempfile::Builder::new().suffix(".kdl").tempfile_in(folder).map_err(|error| wrong(&error))?;
    file.write_all(draft.text.as_bytes()).map_err(|error| wrong(&error))?;
    // A pipeline is for reading by anybody; a temporary file is private.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(|error| wrong(&error))?;
    match force {
        true => file.persist(&draft.path).map(drop).map_err(|error| wrong(&error.error)),
        false => file.persist_noclobber(&draft.path).map(drop).map_err(|error| wrong(&error.error)),
    }
}

/// The files of this machine, with the draft where it is to be.
struct Drafted<'a> {
    disk: resolve::Disk,
    draft: &'a Draft,
}

impl resolve::Files for Drafted<'_> {
    fn read(&self, path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
        match self.real(path) == self.real(&self.draft.path) {
            true => Ok(self.draft.text.clone().into_bytes()),
            false => self.disk.read(path, most),
        }
    }

    fn kind(&self, path: &Path) -> resolve::FileKind {
        match self.real(path) == self.real(&self.draft.path) {
            true => resolve::FileKind::File,
            false => self.disk.kind(path),
        }
    }

    fn real(&self, path: &Path) -> PathBuf {
        self.disk.real(path)
    }
}
