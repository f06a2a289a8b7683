//! Writes the `.npz` file of a sparse matrix, as `scipy.sparse.save_npz` does: a zip of NumPy arrays, here without compression.
//!
//! The matrix is in compressed rows (CSR): the columns and the values of what isn't zero, row after row, and where each row begins
//! among them.

use crate::npy::header;
use anyhow::{Context, Result};
use rawzip::{CompressionMethod, ZipArchiveWriter};
use rq_format::Output;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes a matrix to an [`Output`], which has it when it is whole. What isn't zero is held in memory until then.
pub(crate) struct CsrWriter {
    output: Output,
    path: PathBuf,
    columns: usize,
    /// The columns of what isn't zero, row after row.
    indices: Vec<u32>,
    data: Vec<f32>,
    /// Where each row begins, and the last ends.
    indptr: Vec<u64>,
}

impl CsrWriter {
    /// Begins a file at `path`, or what goes into the pipe or device there.
    pub(crate) fn create(path: &Path, columns: usize) -> Result<Self> {
        Ok(Self {
            output: Output::at(path)?,
            path: path.to_owned(),
            columns,
            indices: Vec::new(),
            data: Vec::new(),
            indptr: vec![0],
        })
    }

    /// Appends a row: columns, ascending, and their values.
    pub(crate) fn row(&mut self, columns: &[u32], values: &[f32]) {
        assert_eq!(columns.len(), values.len(), "a value for each column");
        self.indices.extend_from_slice(columns);
        self.data.extend_from_slice(values);
        self.indptr.push(self.data.len() as u64);
    }

    /// Whether it goes to standard output, which then is for nothing else.
    pub(crate) fn is_stdout(&self) -> bool {
        self.output.is_stdout()
    }

    /// Writes the file, moves it into place, and returns the numbers of rows and of values.
    pub(crate) fn finish(self) -> Result<(usize, usize)> {
        let failed = format!("can't write {}", self.path.display());
        self.write().context(failed)?;
        let counts = (self.indptr.len() - 1, self.data.len());
        self.output.finish()?;
        Ok(counts)
    }

    fn write(&self) -> Result<()> {
        let mut zip = ZipArchiveWriter::new(BufWriter::new(self.output.file_to_fill()));
        let (rows, count) = (self.indptr.len() - 1, self.data.len());
        // As SciPy chooses: indices in 32 bits if they are enough.
        match i32::try_from(count) {
            Ok(_) => self.integers(&mut zip, "<i4", |x| (x as u32).to_le_bytes())?,
            Err(_) => self.integers(&mut zip, "<i8", u64::to_le_bytes)?,
        }
        array(&mut zip, "format", "|S3", "()", [*b"csr"])?;
        let shape = [rows, self.columns].map(|x| (x as u64).to_le_bytes());
        array(&mut zip, "shape", "<i8", "(2,)", shape)?;
        let data = self.data.iter().map(|x| x.to_le_bytes());
        array(&mut zip, "data", "<f4", &list(count), data)?;
        Ok(zip.finish()?.flush()?)
    }

    /// Appends the columns, and where rows begin.
    fn integers<const N: usize>(
        &self,
        zip: &mut ZipArchiveWriter<impl Write>,
        descr: &str,
        bytes: fn(u64) -> [u8; N],
    ) -> Result<()> {
        let indices = self.indices.iter().map(|&index| bytes(index.into()));
        array(zip, "indices", descr, &list(self.indices.len()), indices)?;
        let indptr = self.indptr.iter().map(|&start| bytes(start));
        array(zip, "indptr", descr, &list(self.indptr.len()), indptr)
    }
}

/// The shape of a list.
fn list(len: usize) -> String {
    format!("({len},)")
}

/// Appends an array to a zip.
fn array<const N: usize>(
    zip: &mut ZipArchiveWriter<impl Write>,
    name: &str,
    descr: &str,
    shape: &str,
    values: impl IntoIterator<Item = [u8; N]>,
) -> Result<()> {
    let name = format!("{name}.npy");
    let file = zip.new_file(&name);
    let (mut entry, config) = file.compression_method(CompressionMethod::STORE).start()?;
    let mut writer = BufWriter::new(config.wrap(&mut entry));
    writer.write_all(&header(descr, shape))?;
    for value in values {
        writer.write_all(&value)?;
    }
    let writer = writer.into_inner().map_err(|error| error.into_error())?;
    let (_, descriptor) = writer.finish()?;
    entry.finish(descriptor)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rawzip::ZipArchive;

    /// The arrays of a file by name: header and bytes.
    fn arrays(path: &Path) -> Vec<(String, String, Vec<u8>)> {
        let bytes = std::fs::read(path).unwrap();
        let archive = ZipArchive::from_slice(&bytes).unwrap();
        let mut arrays = Vec::new();
        for entry in archive.entries() {
            let entry = entry.unwrap();
            assert_eq!(entry.compression_method(), CompressionMethod::STORE);
            let name = entry.file_path().try_normalize().unwrap();
            let name = name.as_ref().to_owned();
            let file = archive.get_entry(entry.wayfinder()).unwrap();
            let mut content = Vec::new();
            // Which checks the sum of the bytes.
            std::io::copy(&mut file.verifying_reader(file.data()), &mut content).unwrap();
            assert!(content.starts_with(b"\x93NUMPY\x01\x00\x76\x00"));
            let header = String::from_utf8(content[10..128].to_vec()).unwrap();
            arrays.push((name, header.trim_end().to_owned(), content.split_off(128)));
        }
        arrays
    }

    fn words(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn arrays_as_scipy_names_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.npz");
        let mut writer = CsrWriter::create(&path, 70_000).unwrap();
        writer.row(&[1, 69_999], &[0.5, 2.0]);
        writer.row(&[], &[]);
        writer.row(&[3], &[1.5]);
        assert!(!path.exists());
        assert_eq!(writer.finish().unwrap(), (3, 3));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        let header = |descr, shape| {
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
        };
        let shape: Vec<u8> = [3_u64, 70_000].map(u64::to_le_bytes).concat();
        let data: Vec<u8> = [0.5_f32, 2.0, 1.5].map(f32::to_le_bytes).concat();
        let expected = [
            ("indices.npy", header("<i4", "(3,)"), words(&[1, 69_999, 3])),
            ("indptr.npy", header("<i4", "(4,)"), words(&[0, 2, 2, 3])),
            ("format.npy", header("|S3", "()"), b"csr".to_vec()),
            ("shape.npy", header("<i8", "(2,)"), shape),
            ("data.npy", header("<f4", "(3,)"), data),
        ];
        let found = arrays(&path);
        assert_eq!(found.len(), expected.len());
        for (found, (name, header, bytes)) in found.into_iter().zip(expected) {
            assert_eq!(found, (name.to_owned(), header, bytes));
        }
        // Without a row it is still a matrix.
        let writer = CsrWriter::create(&path, 9).unwrap();
        assert_eq!(writer.finish().unwrap(), (0, 0));
        assert_eq!(arrays(&path)[1].2, words(&[0]));
        assert!(CsrWriter::create(directory.path(), 9).is_err());
    }
}
