//! Reads NumPy's `.npy` format, and gives the values as the file's own bytes: outputs of language models are large.
//!
//! Source: NumPy Enhancement Proposal 1. Every size is checked before it is used: the file comes from an
//! engine that may have crashed while it wrote.

use pipe_engine::tensor::Element;

/// An array whose values lie in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<'a> {
    pub element: Element,
    pub shape: Vec<u64>,
    /// Little-endian, row after row.
    pub data: &'a [u8],
}

/// Why a file can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    /// Too short, or without the magic bytes.
    #[error("not a `.npy` file")]
    NotNpy,
    /// The header lacks one of its three fields, or one can't be read.
    #[error("the `.npy` header has no readable `{0}`")]
    Header(&'static str),
    /// A type of values that no engine writes.
    #[error("the values are `{0}`, which is none of {known}", known = known())]
    Type(String),
    /// Column-major order.
    #[error("the values are in Fortran order")]
    Fortran,
    /// Fewer or more bytes than the shape says.
    #[error("the file holds {found} bytes of values, its shape needs {needed}")]
    Length { found: usize, needed: usize },
}

fn known() -> String {
    Element::ALL.map(|element| format!("`{}`", element.descr())).join(", ")
}

/// Reads `bytes`.
pub fn read(bytes: &[u8]) -> Result<Array<'_>, NpyError> {
    let (header, data) = split(bytes).ok_or(NpyError::NotNpy)?;
    let kind = text_of(header, "descr").ok_or(NpyError::Header("descr"))?;
    let kind = kind.trim().trim_matches(['\'', '"']);
    let element = Element::of_descr(kind).ok_or_else(|| NpyError::Type(kind.to_owned()))?;
    match text_of(header, "fortran_order").map(str::trim) {
        Some("False") => {}
        Some("True") => return Err(NpyError::Fortran),
        _ => return Err(NpyError::Header("fortran_order")),
    }
    let shape = shape(header).ok_or(NpyError::Header("shape"))?;
    let needed = shape.iter().try_fold(element.size() as u64, |size, dim| size.checked_mul(*dim));
    let needed = needed.and_then(|size| usize::try_from(size).ok()).ok_or(NpyError::Header("shape"))?;
    if data.len() != needed {
        return Err(NpyError::Length { found: data.len(), needed });
    }
    Ok(Array { element, shape, data })
}

/// The header's text and what follows it.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (length, rest) = match rest.first()? {
        1 => (usize::from(u16::from_le_bytes(rest.get(2..4)?.try_into().ok()?)), rest.get(4..)?),
        2 | 3 => (u32::from_le_bytes(rest.get(2..6)?.try_into().ok()?) as usize, rest.get(6..)?),
        _ => return None,
    };
    Some((std::str::from_utf8(rest.get(..length)?).ok()?, rest.get(length..)?))
}

/// What stands after `'name':`, up to the next comma.
fn text_of<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    after(header, name)?.split([',', '}']).next()
}

fn shape(header: &str) -> Option<Vec<u64>> {
    let inner = after(header, "shape")?.trim_start().strip_prefix('(')?.split(')').next()?;
    inner.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
}

fn after<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{name}'"))?;
    rest.trim_start().strip_prefix(':')
}

/// Writes an array, for tests.
#[cfg(test)]
pub(crate) fn write(shape: &[u64], values: &[f32]) -> Vec<u8> {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    write_bytes(Element::Float32, shape, bytes)
}

/// The same of any type, for tests.
#[cfg(test)]
pub(crate) fn write_bytes(element: Element, shape: &[u64], bytes: Vec<u8>) -> Vec<u8> {
    let mut file = Vec::new();
    let tensor = pipe_engine::tensor::Tensor { element, shape: shape.to_vec(), bytes };
    pipe_engine::npy::write(&mut file, &tensor).expect("memory takes it");
    file
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_was_written() {
        let bytes = write(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let array = read(&bytes).unwrap();
        assert_eq!((array.element, &array.shape[..], array.data.len()), (Element::Float32, &[2, 3][..], 24));
        let single = write_bytes(Element::Int64, &[], vec![0; 8]);
        assert_eq!(read(&single).unwrap().shape, Vec::<u64>::new());
    }

    #[test]
    fn says_what_is_wrong() {
        let good = write(&[2, 2], &[0.0; 4]);
        assert_eq!(read(b"hello"), Err(NpyError::NotNpy));
        assert_eq!(read(&good[..good.len() - 1]), Err(NpyError::Length { found: 15, needed: 16 }));
        let wrong = |from: &str, to: &str| {
            let text: Vec<u8> = good.clone();
            let at = text.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
            let mut text = text;
            text.splice(at..at + from.len(), to.bytes());
            read(&text).unwrap_err()
        };
        assert_eq!(wrong("<f4", ">f4"), NpyError::Type(">f4".to_owned()));
        assert!(NpyError::Type(">f4".to_owned()).to_string().contains("none of `|b1`, "));
        assert_eq!(wrong("False", "True "), NpyError::Fortran);
        assert_eq!(wrong("(2,2,)", "(2,  )"), NpyError::Length { found: 16, needed: 8 });
        assert_eq!(wrong("(2,2,)", "(2,-2,)"), NpyError::Header("shape"));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..160) {
            let _ = read(&bytes);
            let mut file = write(&[2, 2], &[0.0; 4]);
            file.truncate(cut);
            file.extend(&bytes);
            let _ = read(&file);
        }
    }
}
