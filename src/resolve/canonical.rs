//! An action without its origins, as a text by which equal actions are found.
//!
//! Every struct is taken apart by name, so that a new field cannot be forgotten here.

use std::fmt::Write;

use crate::pipeline::{
    Action, Arg, Class, Compare, FetchFile, FetchWheel, HostPackages, Image, Input, Measure, Place, Put, PutWhat, Run,
    Spanned, StepId, TreeOf, UnpackWheels,
};

/// Two steps with the same text are one step.
pub fn text(class: Class, export: Option<&str>, action: &Action) -> String {
    let mut out = format!("{class:?} {export:?} ");
    // Writing to a `String` cannot fail.
    let _ = write_action(&mut out, action);
    out
}

fn write_action(out: &mut String, action: &Action) -> std::fmt::Result {
    match action {
        Action::Run(run) => {
            let Run { program, args, env, inputs, outputs, tools, network } = run;
            write!(out, "run {} ", network.value)?;
            for word in std::iter::once(program).chain(args) {
                arg(out, &word.value)?;
            }
            for (name, value) in env {
                write!(out, "env {name:?} ")?;
                arg(out, &value.value)?;
            }
            for (name, value) in inputs {
                write!(out, "in {name:?} ")?;
                input(out, &value.value)?;
            }
            texts(out, "out", outputs)?;
            texts(out, "tool", tools)
        }
        Action::FetchFile(FetchFile { url, sha256, name }) => {
            write!(out, "file {:?} {:?} {name:?}", url.value, sha256.value)
        }
        Action::FetchWheel(FetchWheel { package, version, sha256, origin: _ }) => {
            write!(out, "wheel {package:?} {version:?} {sha256:?}")
        }
        Action::UnpackWheels(UnpackWheels { wheels }) => write!(out, "unpack {wheels:?}"),
        Action::HostPackages(HostPackages { packages }) => texts(out, "package", packages),
        Action::Tree(TreeOf { puts, host_libraries }) => {
            for Put { at, what } in puts {
                write!(out, "put {:?} ", at.value)?;
                match what {
                    PutWhat::Input(value) => input(out, &value.value)?,
                    PutWhat::Matching { folder, pattern } => {
                        write!(out, "match {:?} ", pattern.value)?;
                        input(out, &folder.value)?;
                    }
                    PutWhat::Link(to) => write!(out, "link {:?} ", to.value)?,
                    PutWhat::Text(content) => write!(out, "text {:?} ", content.value)?,
                }
            }
            texts(out, "host", host_libraries)
        }
        Action::Image(Image { layers, entrypoint, env }) => {
            for (at, value) in layers {
                write!(out, "layer {:?} ", at.value)?;
                input(out, &value.value)?;
            }
            texts(out, "word", entrypoint)?;
            env.iter().try_for_each(|(name, value)| write!(out, "env {name:?} {:?} ", value.value))
        }
        // Neither is ever merged.
        Action::Measure(_) | Action::Compare(_) => Ok(()),
    }
}

fn texts(out: &mut String, what: &str, texts: &[Spanned<String>]) -> std::fmt::Result {
    texts.iter().try_for_each(|text| write!(out, "{what} {:?} ", text.value))
}

fn arg(out: &mut String, value: &Arg) -> std::fmt::Result {
    match value {
        Arg::Value(value) => write!(out, "{:?} ", value.to_string()),
        Arg::Input(value) => input(out, value),
        Arg::Output(path) => write!(out, "out {path:?} "),
        Arg::Joined(parts) => {
            out.push_str("[ ");
            parts.iter().try_for_each(|part| arg(out, part))?;
            out.push_str("] ");
            Ok(())
        }
    }
}

fn input(out: &mut String, value: &Input) -> std::fmt::Result {
    match value {
        Input::Step { step, path } => write!(out, "step {} {path:?} ", step.0),
        Input::File { path, name, filter } => write!(out, "file {path:?} {name:?} {filter:?} "),
        // Two embedded files may share their last name, never their bytes' place.
        Input::Embedded { name, bytes } => {
            write!(out, "embedded {name:?} {:p} {} ", *bytes, bytes.len())
        }
        Input::EngineSources => write!(out, "engine-sources "),
        Input::Secret { name } => write!(out, "secret {name:?} "),
    }
}

/// Gives every step that the action names its new number.
pub fn renumber(action: &mut Action, to: &dyn Fn(StepId) -> StepId) {
    let one = |input: &mut Input| {
        if let Input::Step { step, .. } = input {
            *step = to(*step);
        }
    };
    match action {
        Action::Run(Run { program, args, env, inputs, outputs: _, tools: _, network: _ }) => {
            let words = std::iter::once(program).chain(args).chain(env.values_mut());
            words.for_each(|word| renumber_arg(&mut word.value, to));
            inputs.iter_mut().for_each(|(_, input)| one(&mut input.value));
        }
        Action::UnpackWheels(UnpackWheels { wheels }) => wheels.iter_mut().for_each(|id| *id = to(*id)),
        Action::Tree(TreeOf { puts, host_libraries: _ }) => {
            for put in puts {
                match &mut put.what {
                    PutWhat::Input(input) | PutWhat::Matching { folder: input, .. } => one(&mut input.value),
                    PutWhat::Link(_) | PutWhat::Text(_) => {}
                }
            }
        }
        Action::Image(Image { layers, entrypoint: _, env: _ }) => {
            layers.iter_mut().for_each(|(_, input)| one(&mut input.value));
        }
        Action::Measure(measure) => {
            let Measure { engine, model, workload, cuda_libraries, place, .. } = &mut **measure;
            let inputs = [engine, model, workload.data_mut()].into_iter().chain(cuda_libraries);
            inputs.for_each(|input| one(&mut input.value));
            if let Place::Container { image, .. } = place {
                one(&mut image.value);
            }
        }
        Action::Compare(compare) => {
            let Compare { of, parity, .. } = &mut **compare;
            of.iter_mut().for_each(|id| *id = to(*id));
            let calibrated = parity.as_mut().and_then(|parity| parity.calibrated.as_mut());
            calibrated.into_iter().for_each(|calibrated| one(&mut calibrated.exact.value));
        }
        Action::FetchFile(_) | Action::FetchWheel(_) | Action::HostPackages(_) => {}
    }
}

fn renumber_arg(arg: &mut Arg, to: &dyn Fn(StepId) -> StepId) {
    match arg {
        Arg::Input(Input::Step { step, .. }) => *step = to(*step),
        Arg::Joined(parts) => parts.iter_mut().for_each(|part| renumber_arg(part, to)),
        Arg::Value(_) | Arg::Input(_) | Arg::Output(_) => {}
    }
}
