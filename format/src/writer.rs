//! The writer: lays a file out, fills it tensor by tensor beside its destination, and moves it there when it is whole.

use crate::config::Config;
use crate::error::FormatError;
use crate::header::{
    ALIGNMENT, Header, SECTIONS, Section, SectionRecord, TABLE_END, check_section_len,
};
use crate::output::Output;
use crate::provenance::Provenance;
use crate::tensor::{
    Directory, TENSOR_RECORD_LEN, TensorFormat, TensorInfo, TensorSpec, check_length, check_values,
};
use rq_kernels::lanes::{LANES, panels_for};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// Where the sections that depend on the tensors are in the table.
const DIRECTORY: usize = Section::TensorDirectory as usize - 1;
const DATA: usize = Section::TensorData as usize - 1;

/// Writes a model's file.
///
/// Until [`Writer::finish`], what is written is a temporary file in the destination's directory; a file that was at
/// the destination stays as it is, and dropping the writer leaves nothing behind. A process that a signal ends drops
/// nothing: [`crate::discard_unfinished`] is for that. What a killed one left, the next writer in that directory removes. The same
/// input makes the same file, byte for byte.
#[derive(Debug)]
pub struct Writer {
    output: Output,
    path: PathBuf,
    sections: [SectionRecord; SECTIONS],
    directory: Directory,
    written: Vec<bool>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The file's length.
    pub bytes: u64,
    /// What [`crate::ModelFile::fingerprint`] will say.
    pub fingerprint: u64,
}

impl Writer {
    /// Starts a file that will be at `path`. `tensors` are exactly the configuration's
    /// ([`Config::expected_tensors`]), each in a format that it allows; their order is that of the file.
    ///
    /// # Errors
    /// When the tensors aren't the configuration's, the provenance or the tokenizer isn't legal, `path` leads to something
    /// that isn't a file, or its directory doesn't exist or can't be written.
    pub fn create(
        path: impl AsRef<Path>,
        config: &Config,
        provenance: &Provenance,
        tokenizer: &[u8],
        tensors: &[TensorSpec],
    ) -> Result<Self, FormatError> {
        let path = path.as_ref();
        let (config_json, provenance_json) = (config.to_json()?, provenance.to_json()?);
        let mut sections = [SectionRecord::default(); SECTIONS];
        let mut end = TABLE_END as u64;
        let first = [&config_json, &provenance_json, tokenizer];
        for ((record, section), bytes) in sections.iter_mut().zip(Section::ALL).zip(first) {
            *record = place(section, &mut end, bytes.len() as u64)?;
            record.checksum = xxh3_64(bytes);
        }
        let directory_len = (tensors.len() * TENSOR_RECORD_LEN) as u64;
        sections[DIRECTORY] = place(Section::TensorDirectory, &mut end, directory_len)?;
        let directory = lay_out(tensors, end)?;
        directory.check_against(config)?;
        let data_end = directory
            .tensors
            .last()
            .map_or(end, |t| t.offset + t.length);
        let data_len = data_end - end.next_multiple_of(ALIGNMENT as u64);
        sections[DATA] = place(Section::TensorData, &mut end, data_len)?;

        let output = Output::file_at(path)?;
        // Padding is what nobody writes.
        output
            .file_to_fill()
            .set_len(data_end)
            .map_err(|source| io_error("create", path, source))?;
        let mut writer = Self {
            output,
            path: path.to_path_buf(),
            sections,
            written: vec![false; directory.tensors.len()],
            directory,
        };
        for (record, bytes) in sections.iter().zip(first) {
            writer.write_at(record.offset, bytes)?;
        }
        Ok(writer)
    }

    /// Writes one tensor, as its format lays it out. The order in which tensors are written doesn't matter.
    ///
    /// # Errors
    /// When there is no such tensor, it was written before, the bytes have another length or hold what isn't a
    /// weight ([`FormatError::Value`]), or the disk refuses.
    pub fn write_tensor(&mut self, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
        let index = self
            .directory
            .position(name)
            .ok_or_else(|| FormatError::NoSuchTensor { name: name.into() })?;
        if self.written[index] {
            return Err(FormatError::WrittenTwice { name: name.into() });
        }
        let tensor = &mut self.directory.tensors[index];
        let (format, rows, columns) = (tensor.format, tensor.rows, tensor.columns);
        check_length(name, format, rows, columns, bytes.len() as u64)?;
        check_values(name, format, rows, columns, bytes)?;
        tensor.checksum = xxh3_64(bytes);
        let offset = tensor.offset;
        self.write_at(offset, bytes)?;
        self.written[index] = true;
        Ok(())
    }

    /// Writes one tensor of floats, given without padding: rows times columns, row after row.
    ///
    /// # Errors
    /// As [`Writer::write_tensor`], and when the tensor is in blocks.
    pub fn write_floats(&mut self, name: &str, values: &[f32]) -> Result<(), FormatError> {
        let Some(tensor) = self
            .directory
            .position(name)
            .map(|index| &self.directory.tensors[index])
        else {
            return Err(FormatError::NoSuchTensor { name: name.into() });
        };
        if tensor.format != TensorFormat::F32 {
            return Err(FormatError::NotFloats {
                name: name.into(),
                found: tensor.format,
            });
        }
        let (rows, columns) = (tensor.rows, tensor.columns);
        if values.len() != rows * columns {
            return Err(FormatError::TensorLength {
                name: name.into(),
                format: TensorFormat::F32,
                rows,
                columns,
                expected: 4 * (rows * columns) as u64,
                found: 4 * values.len() as u64,
            });
        }
        let mut bytes = Vec::with_capacity(rows * panels_for(columns) * LANES * 4);
        for row in values.chunks_exact(columns) {
            bytes.extend(row.iter().flat_map(|x| x.to_le_bytes()));
            bytes.resize(bytes.len().next_multiple_of(LANES * 4), 0);
        }
        self.write_tensor(name, &bytes)
    }

    /// The tensors that were not written yet, in file order.
    pub fn remaining(&self) -> impl Iterator<Item = &TensorInfo> {
        let tensors = self.directory.tensors.iter().zip(&self.written);
        tensors.filter(|(_, written)| !**written).map(|(t, _)| t)
    }

    /// Writes the directory and the header, waits until the disk has everything, and moves the file to its
    /// destination in one step, in place of the file that is there. A symbolic link stays, and what it leads to is replaced.
    ///
    /// # Errors
    /// When a tensor was never written, or the disk refuses. Then the destination is as it was.
    pub fn finish(mut self) -> Result<Written, FormatError> {
        if let Some(first) = self.remaining().next() {
            return Err(FormatError::NotWritten {
                name: first.name.clone(),
                count: self.remaining().count(),
            });
        }
        let records = self.directory.tensors.iter().flat_map(TensorInfo::encode);
        let directory: Vec<u8> = records.collect();
        self.sections[DIRECTORY].checksum = xxh3_64(&directory);
        self.write_at(self.sections[DIRECTORY].offset, &directory)?;
        let (header, fingerprint) = Header::encode(&self.sections);
        self.write_at(0, &header)?;

        let Self {
            output,
            path,
            sections,
            ..
        } = self;
        output
            .file_to_fill()
            .sync_all()
            .map_err(|source| cannot_write(&path, sections[DATA].end(), source))?;
        output.finish()?;
        Ok(Written {
            bytes: sections[DATA].end(),
            fingerprint,
        })
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FormatError> {
        let mut file = self.output.file_to_fill();
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.write_all(bytes))
            .map_err(|source| cannot_write(&self.path, self.sections[DATA].end(), source))
    }
}

/// A record for a section behind `end`, which moves to the section's end.
fn place(section: Section, end: &mut u64, length: u64) -> Result<SectionRecord, FormatError> {
    check_section_len(section, length)?;
    let offset = end.next_multiple_of(ALIGNMENT as u64);
    *end = offset + length;
    Ok(SectionRecord {
        offset,
        length,
        checksum: 0,
    })
}

/// Where the tensors will be, behind `end`.
fn lay_out(tensors: &[TensorSpec], mut end: u64) -> Result<Directory, FormatError> {
    let mut infos = Vec::with_capacity(tensors.len());
    for spec in tensors {
        let too_large = || FormatError::TooLarge {
            name: spec.name.clone(),
            rows: spec.rows as u64,
            columns: spec.columns as u64,
        };
        let length = spec
            .format
            .byte_len(spec.rows, spec.columns)
            .ok_or_else(too_large)? as u64;
        let offset = end
            .checked_next_multiple_of(ALIGNMENT as u64)
            .ok_or_else(too_large)?;
        end = offset.checked_add(length).ok_or_else(too_large)?;
        infos.push(TensorInfo {
            name: spec.name.clone(),
            format: spec.format,
            rows: spec.rows,
            columns: spec.columns,
            offset,
            length,
            checksum: 0,
        });
    }
    Directory::new(infos)
}

/// Why a file of so many bytes can't be written.
fn cannot_write(path: &Path, needed: u64, source: io::Error) -> FormatError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FormatError::NoRoom {
            path: path.to_path_buf(),
            needed,
            source,
        },
        _ => io_error("write", path, source),
    }
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> FormatError {
    FormatError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}
