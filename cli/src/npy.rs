//! Writes NumPy's `.npy` file of a matrix, version 1.0: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use anyhow::{Context, Result, ensure};
use rq_format::Output;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes before the values: a multiple of 64, with room for the largest number of rows.
const HEADER: usize = 128;
/// The format's name and version, and the length of the rest of the header.
const MAGIC: &[u8; 10] = b"\x93NUMPY\x01\x00\x76\x00";

/// What the values of a matrix are, as NumPy writes it, and their bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    I8,
    U8,
}

impl Element {
    const fn descr(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::F16 => "<f2",
            Self::I8 => "|i1",
            Self::U8 => "|u1",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::I8 | Self::U8 => 1,
        }
    }
}

/// Writes a matrix row by row, to an [`Output`], which has it when it is whole.
pub(crate) struct NpyWriter {
    output: Output,
    path: PathBuf,
    rows: u64,
    columns: usize,
    element: Element,
}

impl NpyWriter {
    /// Begins a file at `path`, or what goes into the pipe or device there.
    pub(crate) fn create(path: &Path, columns: usize, element: Element) -> Result<Self> {
        let writer = Self {
            output: Output::at(path)?,
            path: path.to_owned(),
            rows: 0,
            columns,
            element,
        };
        writer.write(&writer.header())?;
        Ok(writer)
    }

    /// Goes on with a file for `path` that has its header and some rows, or nothing yet.
    pub(crate) fn resume(
        output: Output,
        path: &Path,
        columns: usize,
        element: Element,
    ) -> Result<Self> {
        let length = output.file_to_fill().seek(SeekFrom::End(0))?;
        let mut writer = Self {
            output,
            path: path.to_owned(),
            rows: 0,
            columns,
            element,
        };
        match length {
            0 => writer.write(&writer.header())?,
            _ => {
                let row = (columns * element.bytes()) as u64;
                let values = length.saturating_sub(HEADER as u64);
                ensure!(
                    length >= HEADER as u64 && values.is_multiple_of(row),
                    "what there is of {} isn't the beginning of such a file",
                    path.display()
                );
                writer.rows = values / row;
            }
        }
        Ok(writer)
    }

    /// What it is written to.
    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// Appends a row, in the bytes of the file.
    pub(crate) fn row(&mut self, row: &[u8]) -> Result<()> {
        assert_eq!(row.len(), self.columns * self.element.bytes(), "columns");
        self.rows += 1;
        self.write(row)
    }

    /// Whether it goes to standard output, which then is for nothing else.
    pub(crate) fn is_stdout(&self) -> bool {
        self.output.is_stdout()
    }

    /// Completes the header, moves the file into place, and returns the number of rows.
    pub(crate) fn finish(self) -> Result<u64> {
        let start = self.output.file_to_fill().seek(SeekFrom::Start(0));
        start.with_context(|| self.failed())?;
        self.write(&self.header())?;
        self.output.finish()?;
        Ok(self.rows)
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let written = self.output.file_to_fill().write_all(bytes);
        written.with_context(|| self.failed())
    }

    fn failed(&self) -> String {
        format!("can't write {}", self.path.display())
    }

    fn header(&self) -> Vec<u8> {
        let shape = format!("({}, {})", self.rows, self.columns);
        header(self.element.descr(), &shape)
    }
}

/// What stands before the values of an array, in [`HEADER`] bytes; the shape is a tuple of Python.
pub(crate) fn header(descr: &str, shape: &str) -> Vec<u8> {
    let fields = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let width = HEADER - MAGIC.len() - 1;
    [MAGIC, format!("{fields:<width$}\n").as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_room_for_every_shape() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer =
            NpyWriter::create(&directory.path().join("a.npy"), usize::MAX, Element::F32).unwrap();
        for rows in [0, 1, u64::MAX] {
            writer.rows = rows;
            let header = writer.header();
            assert_eq!(header.len(), HEADER);
            assert_eq!(usize::from(header[8]), HEADER - MAGIC.len());
            assert!(header.ends_with(b" \n"));
        }
    }

    #[test]
    fn a_file_appears_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npy");
        let files = || std::fs::read_dir(directory.path()).unwrap().count();
        let mut writer = NpyWriter::create(&path, 2, Element::F32).unwrap();
        writer
            .row([1.0_f32, -2.0].map(f32::to_le_bytes).as_flattened())
            .unwrap();
        assert!(!path.exists());
        drop(writer);
        assert_eq!(files(), 0);

        let mut writer = NpyWriter::create(&path, 2, Element::F32).unwrap();
        writer
            .row([1.0_f32, -2.0].map(f32::to_le_bytes).as_flattened())
            .unwrap();
        writer
            .row([f32::NAN, 0.5].map(f32::to_le_bytes).as_flattened())
            .unwrap();
        assert_eq!(writer.finish().unwrap(), 2);
        assert_eq!(files(), 1);
        let bytes = std::fs::read(&path).unwrap();
        let header =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), } ";
        assert!(bytes.starts_with(header));
        let values = [1.0, -2.0, f32::NAN, 0.5].map(f32::to_le_bytes);
        assert_eq!(bytes[HEADER..], *values.as_flattened());
        assert!(NpyWriter::create(directory.path(), 2, Element::F32).is_err());
    }
}
