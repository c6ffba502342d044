//! What an ONNX file says of itself: its inputs, and where its weights lie. Reads the few fields of the format that
//! tell (`onnx.proto3`, Protocol Buffers' wire format) and passes over the rest without reading it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    pub inputs: Vec<Input>,
    /// Other files that hold weights, as the model names them.
    pub data: BTreeSet<String>,
    version: u64,
    graph: bool,
    weights: BTreeSet<String>,
}

/// An input that somebody has to give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    pub name: String,
    /// The number of `TensorProto.DataType`; 0 where it is no tensor.
    pub element: u64,
    pub shape: Vec<Dim>,
}

/// A dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    Fixed(u64),
    /// Free, with its name, which may be empty.
    Free(String),
}

impl Input {
    /// NumPy's name of its type, where it is one that engines read.
    pub fn dtype(&self) -> Option<&'static str> {
        Some(match self.element {
            1 => "float32",
            2 => "uint8",
            3 => "int8",
            6 => "int32",
            7 => "int64",
            9 => "bool",
            10 => "float16",
            11 => "float64",
            _ => return None,
        })
    }
}

/// Reads a file; `None` where it is no ONNX model.
pub fn read(path: &Path) -> io::Result<Option<Model>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut walk = Walk { from: BufReader::new(file), at: 0 };
    let mut model = Model::default();
    let walked = walk.fields(length, &mut |walk, field| match field {
        Field { number: 1, payload: Payload::Number(version), .. } => {
            model.version = version;
            Ok(())
        }
        Field { number: 7, payload: Payload::Bytes, end } => {
            model.graph = true;
            graph(walk, end, &mut model)
        }
        _ => Ok(()),
    });
    match walked {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => Ok(None),
        Err(error) => Err(error),
        Ok(()) if model.version == 0 || !model.graph => Ok(None),
        Ok(()) => {
            // Old models list their weights among the inputs.
            let Model { inputs, weights, .. } = &mut model;
            inputs.retain(|input| !weights.contains(&input.name));
            Ok(Some(model))
        }
    }
}

/// `GraphProto`: weights are field 5, inputs field 11.
fn graph(walk: &mut Walk, end: u64, model: &mut Model) -> io::Result<()> {
    walk.fields(end, &mut |walk, field| match (field.number, field.payload) {
        (5, Payload::Bytes) => weight(walk, field.end, model),
        (11, Payload::Bytes) => {
            let mut input = Input::default();
            value_info(walk, field.end, &mut input)?;
            model.inputs.push(input);
            Ok(())
        }
        _ => Ok(()),
    })
}

/// `TensorProto`: the name is field 8, the pairs that tell of another file field 13.
fn weight(walk: &mut Walk, end: u64, model: &mut Model) -> io::Result<()> {
    walk.fields(end, &mut |walk, field| match (field.number, field.payload) {
        (8, Payload::Bytes) => {
            model.weights.insert(walk.text(field.end)?);
            Ok(())
        }
        (13, Payload::Bytes) => {
            let (mut key, mut value) = (String::new(), String::new());
            walk.fields(field.end, &mut |walk, field| match (field.number, field.payload) {
                (1, Payload::Bytes) => walk.text(field.end).map(|text| key = text),
                (2, Payload::Bytes) => walk.text(field.end).map(|text| value = text),
                _ => Ok(()),
            })?;
            if key == "location" {
                model.data.insert(value);
            }
            Ok(())
        }
        _ => Ok(()),
    })
}

/// `ValueInfoProto`: the name is field 1; field 2 is the type, whose field 1 is a tensor's.
fn value_info(walk: &mut Walk, end: u64, input: &mut Input) -> io::Result<()> {
    walk.fields(end, &mut |walk, field| match (field.number, field.payload) {
        (1, Payload::Bytes) => walk.text(field.end).map(|name| input.name = name),
        (2, Payload::Bytes) => walk.fields(field.end, &mut |walk, field| match (field.number, field.payload) {
            (1, Payload::Bytes) => tensor_type(walk, field.end, input),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })
}

/// `TypeProto.Tensor`: the element's type is field 1, the shape field 2, whose field 1 repeats for each dimension.
fn tensor_type(walk: &mut Walk, end: u64, input: &mut Input) -> io::Result<()> {
    walk.fields(end, &mut |walk, field| match (field.number, field.payload) {
        (1, Payload::Number(element)) => {
            input.element = element;
            Ok(())
        }
        (2, Payload::Bytes) => walk.fields(field.end, &mut |walk, field| match (field.number, field.payload) {
            (1, Payload::Bytes) => dim(walk, field.end).map(|dim| input.shape.push(dim)),
            _ => Ok(()),
        }),
        _ => Ok(()),
    })
}

/// `TensorShapeProto.Dimension`: its size is field 1, its name field 2.
fn dim(walk: &mut Walk, end: u64) -> io::Result<Dim> {
    let mut dim = Dim::Free(String::new());
    walk.fields(end, &mut |walk, field| match (field.number, field.payload) {
        (1, Payload::Number(size)) => {
            // Some exporters write -1 for what is free.
            if i64::try_from(size).is_ok() {
                dim = Dim::Fixed(size);
            }
            Ok(())
        }
        (2, Payload::Bytes) => walk.text(field.end).map(|name| dim = Dim::Free(name)),
        _ => Ok(()),
    })?;
    Ok(dim)
}

/// A field's number, what it holds, and where it ends in the file.
struct Field {
    number: u64,
    payload: Payload,
    end: u64,
}

enum Payload {
    Number(u64),
    /// A text or a message, up to the field's end; it is passed over unless somebody reads it.
    Bytes,
}

/// A way through nested messages.
struct Walk {
    from: BufReader<File>,
    at: u64,
}

impl Walk {
    /// Shows every field of the message that ends at `end`.
    fn fields(&mut self, end: u64, see: &mut dyn FnMut(&mut Walk, Field) -> io::Result<()>) -> io::Result<()> {
        while self.at < end {
            let key = self.number()?;
            let (payload, length) = match key & 7 {
                0 => (Payload::Number(self.number()?), 0),
                1 => (Payload::Bytes, 8),
                2 => (Payload::Bytes, self.number()?),
                5 => (Payload::Bytes, 4),
                _ => return Err(odd()),
            };
            let stop = self.at.checked_add(length).filter(|stop| *stop <= end && key >> 3 > 0).ok_or_else(odd)?;
            see(self, Field { number: key >> 3, payload, end: stop })?;
            let rest = stop.checked_sub(self.at).and_then(|rest| i64::try_from(rest).ok()).ok_or_else(odd)?;
            self.from.seek_relative(rest)?;
            self.at = stop;
        }
        if self.at == end { Ok(()) } else { Err(odd()) }
    }

    /// A number in groups of seven bits, the lowest first.
    fn number(&mut self) -> io::Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.from.read_exact(&mut byte)?;
            self.at += 1;
            number |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(number);
            }
        }
        Err(odd())
    }

    /// The text up to `end`; names are short.
    fn text(&mut self, end: u64) -> io::Result<String> {
        let length = end.checked_sub(self.at).filter(|length| *length <= 1 << 16).ok_or_else(odd)?;
        let mut bytes = vec![0; length as usize];
        self.from.read_exact(&mut bytes)?;
        self.at = end;
        String::from_utf8(bytes).map_err(|_| odd())
    }
}

fn odd() -> io::Error {
    io::Error::from(io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that holds bytes.
    fn bytes(number: u8, payload: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        let mut length = payload.len();
        while length >= 0x80 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend(payload);
        field
    }

    /// A field that holds a small number.
    fn number(number: u8, value: u8) -> Vec<u8> {
        vec![number << 3, value]
    }

    fn input(name: &str, element: u8, dims: &[Vec<u8>]) -> Vec<u8> {
        let shape: Vec<u8> = dims.iter().flat_map(|dim| bytes(1, dim)).collect();
        let tensor = [number(1, element), bytes(2, &shape)].concat();
        bytes(11, &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat())
    }

    fn weight(name: &str, location: Option<&str>) -> Vec<u8> {
        let pair = |key: &str, value: &str| bytes(13, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat());
        let external = location.map(|name| [pair("location", name), pair("offset", "0")].concat());
        bytes(5, &[bytes(8, name.as_bytes()), external.unwrap_or_else(|| bytes(9, &[7; 5000]))].concat())
    }

    fn model(parts: &[Vec<u8>]) -> Vec<u8> {
        [number(1, 9), bytes(2, b"a test"), bytes(7, &parts.concat())].concat()
    }

    fn read_bytes(bytes: &[u8]) -> Option<Model> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path()).unwrap()
    }

    #[test]
    fn inputs_are_those_that_are_no_weights() {
        let (batch, free) = (bytes(2, b"batch"), Vec::new());
        let minus_one = [&[1 << 3][..], &[0xff; 9], &[1]].concat();
        let dims = [batch, number(1, 3), free, minus_one];
        let parts = [weight("w", None), input("x", 1, &dims), input("w", 1, &[])];
        let model = read_bytes(&model(&parts)).unwrap();
        let free = || Dim::Free(String::new());
        let shape = vec![Dim::Free("batch".to_owned()), Dim::Fixed(3), free(), free()];
        assert_eq!(model.inputs, [Input { name: "x".to_owned(), element: 1, shape }]);
        assert_eq!(model.inputs[0].dtype(), Some("float32"));
        assert!(model.data.is_empty());
    }

    #[test]
    fn files_with_weights_are_named_once() {
        let parts = [weight("a", Some("m.data")), weight("b", Some("m.data")), input("x", 8, &[])];
        let model = read_bytes(&model(&parts)).unwrap();
        assert_eq!(model.data.into_iter().collect::<Vec<_>>(), ["m.data"]);
        assert_eq!(model.inputs[0].dtype(), None, "texts");
    }

    #[test]
    fn what_is_no_model_is_refused_wherever_it_is_cut() {
        let whole = model(&[weight("w", None), input("x", 1, &[number(1, 3)])]);
        assert!(read_bytes(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(read_bytes(&whole[..end]), None, "{end} bytes");
        }
        for text in [&b"hello, world"[..], b"{\"a\": 1}", b"PK\x03\x04", b"version https://git-lfs", &[0xff; 40]] {
            assert_eq!(read_bytes(text), None);
        }
        let no_graph = [number(1, 9), bytes(2, b"a test")].concat();
        assert_eq!(read_bytes(&no_graph), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = read_bytes(&bytes);
            let _ = read_bytes(&[number(1, 9), super::tests::bytes(7, &bytes)].concat());
        }
    }
}
