//! Tensors between files, engines and libraries: a type, a shape and plain bytes. Knows no library.

use std::fmt;
use std::path::Path;

use crate::message::{Dim, Fault, Outlet};
use crate::npy;

/// The types of elements that travel, by NumPy's names and its descriptions of little-endian files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    Bool,
    Uint8,
    Int8,
    Int32,
    Int64,
    Float16,
    Float32,
    Float64,
}

impl Element {
    /// All of them.
    pub const ALL: [Element; 8] = [
        Element::Bool,
        Element::Uint8,
        Element::Int8,
        Element::Int32,
        Element::Int64,
        Element::Float16,
        Element::Float32,
        Element::Float64,
    ];

    /// `float32`.
    pub fn name(self) -> &'static str {
        match self {
            Element::Bool => "bool",
            Element::Uint8 => "uint8",
            Element::Int8 => "int8",
            Element::Int32 => "int32",
            Element::Int64 => "int64",
            Element::Float16 => "float16",
            Element::Float32 => "float32",
            Element::Float64 => "float64",
        }
    }

    /// `<f4`.
    pub fn descr(self) -> &'static str {
        match self {
            Element::Bool => "|b1",
            Element::Uint8 => "|u1",
            Element::Int8 => "|i1",
            Element::Int32 => "<i4",
            Element::Int64 => "<i8",
            Element::Float16 => "<f2",
            Element::Float32 => "<f4",
            Element::Float64 => "<f8",
        }
    }

    /// The type of a description.
    pub fn of_descr(descr: &str) -> Option<Element> {
        Element::ALL.into_iter().find(|element| element.descr() == descr)
    }

    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Element::Bool | Element::Uint8 | Element::Int8 => 1,
            Element::Float16 => 2,
            Element::Int32 | Element::Float32 => 4,
            Element::Int64 | Element::Float64 => 8,
        }
    }
}

/// A tensor in memory, row by row, little-endian.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub element: Element,
    pub shape: Vec<u64>,
    pub bytes: Vec<u8>,
}

/// The file of an input or output: its name, with every character that a file's name should not hold made `_`.
pub fn file_of(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    name.chars().map(plain).collect::<String>() + ".npy"
}

/// Reads the inputs that a model takes out of a folder, in the model's order, and holds each against what the
/// model says of it.
pub fn read_inputs(folder: &Path, wanted: &[Outlet]) -> Result<Vec<Tensor>, Fault> {
    let named = |error: std::io::Error| Fault::failed(format!("the inputs' folder `{}`: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(named)? {
        found.push(entry.map_err(named)?.file_name().to_string_lossy().into_owned());
    }
    let takes = wanted.iter().map(|outlet| format!("`{}`", file_of(&outlet.name))).collect::<Vec<_>>().join(", ");
    let stray = |file: &&String| file.ends_with(".npy") && !wanted.iter().any(|outlet| file_of(&outlet.name) == **file);
    if let Some(stray) = found.iter().filter(stray).min() {
        return Err(Fault::failed(format!("`{stray}` is no input of the model, which takes {takes}")));
    }
    wanted.iter().map(|outlet| read_input(folder, outlet, &takes)).collect()
}

fn read_input(folder: &Path, outlet: &Outlet, takes: &str) -> Result<Tensor, Fault> {
    let file = file_of(&outlet.name);
    let path = folder.join(&file);
    let named = |what: &dyn fmt::Display| Fault::failed(format!("the input `{file}`: {what}"));
    let opened =
        std::fs::File::open(&path).map_err(|error| named(&format!("{error}; the inputs' folder must hold {takes}")))?;
    let tensor = npy::read(std::io::BufReader::new(opened)).map_err(|error| named(&error))?;
    if tensor.element.name() != outlet.dtype {
        return Err(named(&format!("it holds {}, and the model takes {}", tensor.element.name(), outlet.dtype)));
    }
    let fits = tensor.shape.len() == outlet.shape.len()
        && tensor.shape.iter().zip(&outlet.shape).all(|(is, wanted)| match wanted {
            Dim::Fixed(wanted) => is == wanted,
            Dim::Named(_) | Dim::Free => true,
        });
    match fits {
        true => Ok(tensor),
        false => {
            let wanted: Vec<String> = outlet.shape.iter().map(Dim::to_string).collect();
            let is: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
            Err(named(&format!("its shape is ({}), and the model takes ({})", is.join(", "), wanted.join(", "))))
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Named(name) => f.write_str(name),
            Dim::Free => f.write_str("any"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_their_description() {
        for element in Element::ALL {
            assert_eq!(Element::of_descr(element.descr()), Some(element));
        }
        assert_eq!(Element::of_descr(">f4"), None);
    }

    #[test]
    fn a_files_name_holds_nothing_odd() {
        assert_eq!(file_of("input.1"), "input.1.npy");
        assert_eq!(file_of("serving/x:0"), "serving_x_0.npy");
        assert_eq!(file_of("../../x"), ".._.._x.npy");
    }

    #[test]
    fn inputs_are_held_against_the_model() {
        let folder = std::env::temp_dir().join(format!("pipe-engine-inputs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let write = |name: &str, tensor: &Tensor| {
            let file = std::fs::File::create(folder.join(name)).expect("a file");
            npy::write(file, tensor).expect("written");
        };
        let x = Tensor { element: Element::Float32, shape: vec![2, 3], bytes: vec![0; 24] };
        write("x.npy", &x);
        let wanted = |dtype: &str, shape: Vec<Dim>| [Outlet { name: "x".to_owned(), dtype: dtype.to_owned(), shape }];
        let said = |outlets: &[Outlet]| read_inputs(&folder, outlets).map_err(|fault| fault.message);
        let free = || vec![Dim::Named("batch".to_owned()), Dim::Fixed(3)];
        assert_eq!(said(&wanted("float32", free())), Ok(vec![x.clone()]));
        assert_eq!(
            said(&wanted("int64", free())),
            Err("the input `x.npy`: it holds float32, and the model takes int64".to_owned())
        );
        assert_eq!(
            said(&wanted("float32", vec![Dim::Free, Dim::Fixed(4)])),
            Err("the input `x.npy`: its shape is (2, 3), and the model takes (any, 4)".to_owned())
        );
        assert!(said(&wanted("float32", vec![Dim::Free])).is_err_and(|said| said.contains("takes (any)")));
        write("y.npy", &x);
        assert_eq!(
            said(&wanted("float32", free())),
            Err("`y.npy` is no input of the model, which takes `x.npy`".to_owned())
        );
        std::fs::remove_file(folder.join("x.npy")).expect("removed");
        std::fs::remove_file(folder.join("y.npy")).expect("removed");
        assert!(said(&wanted("float32", free())).is_err_and(|said| said.contains("must hold `x.npy`")));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
