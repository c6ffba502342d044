//! NumPy's `.npy` files, as far as the protocol needs them: a row of `int64` in, rows of `float32` out, and
//! whole tensors both ways. Follows format versions 1.0 to 3.0 of NumPy's own description. Knows nothing of models.

use std::io::{self, Read, Write};

use crate::tensor::{Element, Tensor};

/// Why a file isn't the array that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The first bytes aren't those of an array.
    #[error("is no `.npy` file")]
    NotNpy,
    /// An array of another type, order or number of dimensions.
    #[error("holds another array than one row of little-endian `int64`: {0}")]
    Other(String),
    /// An array whose header can't be used.
    #[error("its header is not one that can be read: {0}")]
    Header(String),
    /// An array of a type that does not travel.
    #[error("it holds `{0}`, and only {known} are read", known = known())]
    Element(String),
    /// More or fewer rows were written than were announced.
    #[error("{written} numbers were written where {announced} were announced")]
    Count { written: u64, announced: u64 },
}

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The longest header that is read; NumPy's own are of 118 bytes.
const LONGEST_HEADER: u32 = 1 << 16;

/// Reads a whole array.
pub fn read(mut from: impl Read) -> Result<Tensor, NpyError> {
    let header = read_header(&mut from)?;
    let bad = || NpyError::Header(header.trim().to_owned());
    let spaceless: String = header.chars().filter(|c| !c.is_whitespace()).collect();
    let between = |start: &str, end: char| Some(spaceless.split_once(start)?.1.split_once(end)?.0.to_owned());
    let descr = between("'descr':'", '\'').ok_or_else(bad)?;
    let element = Element::of_descr(&descr).ok_or(NpyError::Element(descr))?;
    if !spaceless.contains("'fortran_order':False") {
        return Err(bad());
    }
    let shape = between("'shape':(", ')').ok_or_else(bad)?;
    let dims = shape.split(',').filter(|dim| !dim.is_empty()).map(str::parse);
    let shape: Vec<u64> = dims.collect::<Result<_, _>>().map_err(|_| bad())?;
    let size = shape.iter().try_fold(element.size() as u64, |size, dim| size.checked_mul(*dim)).ok_or_else(bad)?;
    let mut bytes = Vec::new();
    // One byte more than there should be tells of a file that is too long.
    if from.take(size.saturating_add(1)).read_to_end(&mut bytes)? as u64 != size {
        return Err(NpyError::Header(format!("its shape needs {size} bytes, and the file holds others")));
    }
    Ok(Tensor { element, shape, bytes })
}

/// Writes a whole array.
pub fn write(mut to: impl Write, tensor: &Tensor) -> Result<(), NpyError> {
    let shape: String = tensor.shape.iter().map(|dim| format!("{dim},")).collect();
    write_header(&mut to, tensor.element.descr(), &format!("({shape})"))?;
    to.write_all(&tensor.bytes)?;
    Ok(to.flush()?)
}

fn known() -> String {
    Element::ALL.map(|element| format!("`{}` ({})", element.descr(), element.name())).join(", ")
}

/// Reads the first `count` numbers, or all where there are fewer.
pub fn read_i64(mut from: impl Read, count: usize) -> Result<Vec<i64>, NpyError> {
    let header = read_header(&mut from)?;
    let spaceless: String = header.chars().filter(|c| !c.is_whitespace()).collect();
    let length = spaceless
        .split_once("'shape':(")
        .and_then(|(_, rest)| rest.split_once(",)"))
        .and_then(|(length, _)| length.parse::<usize>().ok());
    let fits = spaceless.contains("'descr':'<i8'") && spaceless.contains("'fortran_order':False");
    let Some(length) = length.filter(|_| fits) else {
        return Err(NpyError::Other(header.trim().to_owned()));
    };
    let mut bytes = Vec::new();
    let wanted = length.min(count) as u64 * 8;
    if from.take(wanted).read_to_end(&mut bytes)? as u64 != wanted {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let (numbers, _) = bytes.as_chunks::<8>();
    Ok(numbers.iter().map(|number| i64::from_le_bytes(*number)).collect())
}

fn read_header(from: &mut impl Read) -> Result<String, NpyError> {
    let mut start = [0; 8];
    from.read_exact(&mut start).map_err(|_| NpyError::NotNpy)?;
    if !start.starts_with(MAGIC) || !(1..=3).contains(&start[6]) {
        return Err(NpyError::NotNpy);
    }
    let length = if start[6] == 1 {
        let mut length = [0; 2];
        from.read_exact(&mut length)?;
        u32::from(u16::from_le_bytes(length))
    } else {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        u32::from_le_bytes(length)
    };
    if length > LONGEST_HEADER {
        return Err(NpyError::NotNpy);
    }
    let mut header = vec![0; length as usize];
    from.read_exact(&mut header)?;
    String::from_utf8(header).map_err(|_| NpyError::NotNpy)
}

/// Writes a matrix of `float32` row by row, for it may be larger than what memory should hold of it.
pub struct Writer<W> {
    to: W,
    announced: u64,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header, which announces the shape.
    pub fn new(mut to: W, rows: u64, columns: u64) -> Result<Self, NpyError> {
        write_header(&mut to, Element::Float32.descr(), &format!("({rows}, {columns})"))?;
        Ok(Self { to, announced: rows.saturating_mul(columns), written: 0 })
    }

    /// Appends whole rows.
    pub fn write(&mut self, numbers: &[f32]) -> Result<(), NpyError> {
        let mut bytes = Vec::with_capacity(4 * numbers.len().min(1 << 16));
        for block in numbers.chunks(1 << 16) {
            bytes.clear();
            bytes.extend(block.iter().flat_map(|number| number.to_le_bytes()));
            self.to.write_all(&bytes)?;
        }
        self.written += numbers.len() as u64;
        Ok(())
    }

    /// Checks that the announced shape was filled, and hands the sink back.
    pub fn finish(mut self) -> Result<W, NpyError> {
        if self.written != self.announced {
            return Err(NpyError::Count { written: self.written, announced: self.announced });
        }
        self.to.flush()?;
        Ok(self.to)
    }
}

/// Writes a row of `int64`, for tests and tools that make token files.
pub fn write_i64(mut to: impl Write, numbers: &[i64]) -> io::Result<()> {
    write_header(&mut to, Element::Int64.descr(), &format!("({},)", numbers.len()))?;
    for number in numbers {
        to.write_all(&number.to_le_bytes())?;
    }
    to.flush()
}

fn write_header(to: &mut impl Write, descr: &str, shape: &str) -> io::Result<()> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // The numbers begin at a multiple of 64 bytes; the header ends in a line feed.
    let padding = 63 - (MAGIC.len() + 4 + header.len()) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| io::Error::other("an array of too many dimensions"))?;
    to.write_all(MAGIC)?;
    to.write_all(&[1, 0])?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(header.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_out_as_numpy_writes_them() {
        let mut writer = Writer::new(Vec::new(), 2, 2).expect("a header");
        writer.write(&[1.0, 2.0]).expect("a row");
        writer.write(&[3.0, -4.5]).expect("a row");
        let bytes = writer.finish().expect("filled");
        assert_eq!(bytes.len(), 128 + 16);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        assert!(bytes[10..].starts_with(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }  "));
        assert_eq!(bytes[127], b'\n');
        assert_eq!(&bytes[140..], (-4.5_f32).to_le_bytes());
    }

    #[test]
    fn a_shape_that_was_not_filled_is_an_error() {
        let writer = Writer::new(Vec::new(), 1, 2).expect("a header");
        assert!(matches!(writer.finish(), Err(NpyError::Count { written: 0, announced: 2 })));
    }

    #[test]
    fn tokens_are_read_up_to_the_count() {
        let mut file = Vec::new();
        write_i64(&mut file, &[5, -6, 7]).expect("written");
        assert_eq!(read_i64(&file[..], 2).expect("read"), [5, -6]);
        assert_eq!(read_i64(&file[..], 9).expect("read"), [5, -6, 7]);
        assert!(matches!(read_i64(&file[..file.len() - 1], 9), Err(NpyError::Io(_))));
    }

    #[test]
    fn tensors_come_back_as_they_were() {
        for (element, shape) in [(Element::Float32, vec![2, 3]), (Element::Bool, vec![]), (Element::Int64, vec![0, 7])]
        {
            let count: u64 = shape.iter().product();
            let bytes = (0..count * element.size() as u64).map(|byte| byte as u8).collect();
            let tensor = Tensor { element, shape, bytes };
            let mut file = Vec::new();
            write(&mut file, &tensor).expect("written");
            assert_eq!(read(&file[..]).expect("read"), tensor);
            file.push(0);
            assert!(matches!(read(&file[..]), Err(NpyError::Header(_))), "a byte too many");
            file.truncate(file.len() - 2);
            assert!(count == 0 || matches!(read(&file[..]), Err(NpyError::Header(_))), "a byte too few");
        }
    }

    #[test]
    fn types_that_do_not_travel_are_named_with_those_that_do() {
        let mut file = Vec::new();
        write_header(&mut file, "<c8", "(1,)").expect("written");
        let said = read(&file[..]).expect_err("refused").to_string();
        assert!(said.starts_with("it holds `<c8`, and only `|b1` (bool)"), "{said}");
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(read_i64(&b"not an array"[..], 1), Err(NpyError::NotNpy)));
        assert!(matches!(read_i64(&b""[..], 1), Err(NpyError::NotNpy)));
        let floats = Writer::new(Vec::new(), 0, 1).and_then(Writer::finish).expect("written");
        assert!(matches!(read_i64(&floats[..], 1), Err(NpyError::Other(_))));
    }
}
