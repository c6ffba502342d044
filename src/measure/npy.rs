//! Reads the header of NumPy's `.npy` format for two-dimensional `float32` arrays, and gives the values as
//! bytes.
//!
//! Source: NumPy Enhancement Proposal 1. Every size is checked before it is used: the file comes from an
//! engine that may have crashed while it wrote.

/// A matrix whose rows can be read one after the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix<'a> {
    pub rows: usize,
    pub columns: usize,
    /// Little-endian `float32`, row after row.
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
    /// Another type of values than `<f4`.
    #[error("the values are `{0}`, not `<f4` (little-endian float32)")]
    Type(String),
    /// Column-major order.
    #[error("the values are in Fortran order")]
    Fortran,
    /// Not two dimensions.
    #[error("the array has {0} dimensions, not 2")]
    Dimensions(usize),
    /// Fewer or more bytes than the shape says.
    #[error("the file holds {found} bytes of values, its shape needs {needed}")]
    Length { found: usize, needed: usize },
}

/// Reads `bytes`.
pub fn read(bytes: &[u8]) -> Result<Matrix<'_>, NpyError> {
    let (header, data) = split(bytes).ok_or(NpyError::NotNpy)?;
    let kind = text_of(header, "descr").ok_or(NpyError::Header("descr"))?;
    let kind = kind.trim().trim_matches(['\'', '"']);
    if kind != "<f4" {
        return Err(NpyError::Type(kind.to_owned()));
    }
    match text_of(header, "fortran_order").map(str::trim) {
        Some("False") => {}
        Some("True") => return Err(NpyError::Fortran),
        _ => return Err(NpyError::Header("fortran_order")),
    }
    let shape = shape(header).ok_or(NpyError::Header("shape"))?;
    let &[rows, columns] = shape.as_slice() else {
        return Err(NpyError::Dimensions(shape.len()));
    };
    let needed = rows.checked_mul(columns).and_then(|n| n.checked_mul(4)).ok_or(NpyError::Header("shape"))?;
    if data.len() != needed {
        return Err(NpyError::Length { found: data.len(), needed });
    }
    Ok(Matrix { rows, columns, data })
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

fn shape(header: &str) -> Option<Vec<usize>> {
    let inner = after(header, "shape")?.trim_start().strip_prefix('(')?.split(')').next()?;
    inner.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
}

fn after<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(&format!("'{name}'"))?;
    rest.trim_start().strip_prefix(':')
}

/// Writes a matrix, for tests.
#[cfg(test)]
pub(crate) fn write(rows: usize, columns: usize, values: &[f32]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_was_written() {
        let bytes = write(2, 3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let matrix = read(&bytes).unwrap();
        assert_eq!((matrix.rows, matrix.columns, matrix.data.len()), (2, 3, 24));
    }

    #[test]
    fn says_what_is_wrong() {
        let good = write(2, 2, &[0.0; 4]);
        assert_eq!(read(b"hello"), Err(NpyError::NotNpy));
        assert_eq!(read(&good[..good.len() - 1]), Err(NpyError::Length { found: 15, needed: 16 }));
        let wrong = |from: &str, to: &str| {
            let text: Vec<u8> = good.clone();
            let at = text.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
            let mut text = text;
            text.splice(at..at + from.len(), to.bytes());
            read(&text).unwrap_err()
        };
        assert_eq!(wrong("<f4", "<f8"), NpyError::Type("<f8".to_owned()));
        assert_eq!(wrong("False", "True "), NpyError::Fortran);
        assert_eq!(wrong("(2, 2)", "(2,  )"), NpyError::Dimensions(1));
        assert_eq!(wrong("(2, 2)", "(2,-2)"), NpyError::Header("shape"));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..160) {
            let _ = read(&bytes);
            let mut file = write(2, 2, &[0.0; 4]);
            file.truncate(cut);
            file.extend(&bytes);
            let _ = read(&file);
        }
    }
}
