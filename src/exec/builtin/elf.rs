//! What an ELF file says about the libraries that it needs.
//!
//! Only 64-bit little-endian files are read, which is all that our platforms have. The sections that a debugger
//! would use are not needed: the loader works from the program headers, and so does this.

use object::elf::{self, FileHeader64};
use object::endian::LittleEndian;
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::read::{ReadRef, StringTable};

/// The parts of an ELF file that steer the dynamic loader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elf {
    pub machine: u16,
    /// The loader that starts it; programs have one, libraries mostly not.
    pub interpreter: Option<String>,
    pub name: Option<String>,
    pub needed: Vec<String>,
    pub rpath: Vec<String>,
    pub runpath: Vec<String>,
}

/// The first bytes of every ELF file.
pub const MAGIC: &[u8] = b"\x7fELF";

/// Reads a file that begins with [`MAGIC`]; `None` for what is no program and no library (an object file, another
/// word size), and an error for one that is broken.
pub fn parse<'data, R: ReadRef<'data>>(data: R) -> object::Result<Option<Elf>> {
    // Class 2 is 64 bits, encoding 1 little-endian.
    if data.read_bytes_at(4, 2) != Ok(&[2, 1]) {
        return Ok(None);
    }
    let header = FileHeader64::<LittleEndian>::parse(data)?;
    let kind = header.e_type(LittleEndian);
    if kind != elf::ET_EXEC && kind != elf::ET_DYN {
        return Ok(None);
    }
    let segments = header.program_headers(LittleEndian, data)?;
    let mut elf = Elf { machine: header.e_machine(LittleEndian).0, ..Elf::default() };
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(LittleEndian, data)? {
            elf.interpreter = Some(String::from_utf8_lossy(interpreter).into_owned());
        }
        let Some(entries) = segment.dynamic(LittleEndian, data)? else { continue };
        let entries: Vec<_> = entries.iter().take_while(|entry| entry.d_tag(LittleEndian) != elf::DT_NULL).collect();
        let value =
            |tag| entries.iter().find(|entry| entry.d_tag(LittleEndian) == tag).map(|entry| entry.d_val(LittleEndian));
        let address = value(elf::DT_STRTAB).unwrap_or(0);
        let Some(start) = segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.p_vaddr(LittleEndian))?;
            let loaded = segment.p_type(LittleEndian) == elf::PT_LOAD && inside < segment.p_filesz(LittleEndian);
            loaded.then(|| segment.p_offset(LittleEndian).checked_add(inside))?
        }) else {
            continue;
        };
        let end = start.saturating_add(value(elf::DT_STRSZ).unwrap_or(0));
        let strings = StringTable::new(data, start, end);
        for entry in entries {
            let text = || entry.string(LittleEndian, strings).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            match entry.d_tag(LittleEndian) {
                elf::DT_NEEDED => elf.needed.push(text()?),
                elf::DT_SONAME => elf.name = Some(text()?),
                elf::DT_RPATH => elf.rpath = folders(&text()?),
                elf::DT_RUNPATH => elf.runpath = folders(&text()?),
                _ => {}
            }
        }
    }
    Ok(Some(elf))
}

fn folders(text: &str) -> Vec<String> {
    text.split(':').filter(|folder| !folder.is_empty()).map(str::to_owned).collect()
}
