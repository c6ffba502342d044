//! Inferences of a model of tensors, timed or for their outputs: the narrowest part that the clock sees.
//! Knows nothing of messages' order or libraries.

use std::fs;
use std::path::Path;

use crate::engine::{Clock, TensorModel};
use crate::message::{Fault, Sample};
use crate::npy;
use crate::tensor::{Tensor, file_of, read_inputs};

/// Reads the inputs and puts them onto the device; says how many items they hold: the first dimension of the
/// first input, or one.
pub fn feed(model: &mut dyn TensorModel, folder: &Path) -> Result<u32, Fault> {
    let inputs = read_inputs(folder, model.inputs())?;
    let items = inputs.first().and_then(|input| input.shape.first()).copied().unwrap_or(1);
    model.feed(inputs)?;
    u32::try_from(items).map_err(|_| Fault::failed(format!("{items} items are more than can be counted")))
}

/// One inference against the clock, whose reading at the session's start is `origin`.
pub fn sample(model: &mut dyn TensorModel, clock: &dyn Clock, origin: u64) -> Result<Sample, Fault> {
    let start = clock.now_ns();
    model.run()?;
    Ok(Sample { at_ns: start - origin, prefill_ns: clock.now_ns() - start, decode_ns: Vec::new() })
}

/// Runs it once more and writes a file for each output; gives their names.
pub fn write_outputs(model: &mut dyn TensorModel, folder: &Path) -> Result<Vec<String>, Fault> {
    model.run()?;
    let mut files = Vec::new();
    for (name, tensor) in model.outputs()? {
        let file = file_of(&name);
        if files.contains(&file) {
            return Err(Fault::failed(format!("two outputs have the file `{file}`; give one of them another name")));
        }
        write(&folder.join(&file), &tensor)?;
        files.push(file);
    }
    Ok(files)
}

fn write(path: &Path, tensor: &Tensor) -> Result<(), Fault> {
    let named = |error: &dyn std::fmt::Display| Fault::failed(format!("`{}`: {error}", path.display()));
    let file = fs::File::create(path).map_err(|error| named(&error))?;
    npy::write(std::io::BufWriter::new(file), tensor).map_err(|error| named(&error))
}
