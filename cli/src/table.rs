//! Tables of text: CSV (RFC 4180), and the same with tabs. The first record names the columns.

use crate::fields::Fields;
use anyhow::{Error, Result, anyhow, ensure};
use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Writer, WriterBuilder};
use std::borrow::Cow;

/// What files of texts are, and answers can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A text in each line.
    Lines,
    /// A JSON object, a JSON string or a text in each line.
    Jsonl,
    /// Records, with this between their fields.
    Table(Delimiter),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delimiter {
    Comma,
    Tab,
}

impl Form {
    /// What the ending of a name says.
    pub(crate) fn of(path: &std::path::Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" => Some(Self::Table(Delimiter::Comma)),
            "tsv" => Some(Self::Table(Delimiter::Tab)),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

impl Delimiter {
    fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Tab => b'\t',
        }
    }
}

/// The fields of a record.
pub(crate) type Record = Vec<Vec<u8>>;

/// Puts records together of lines.
pub(crate) struct Records {
    reader: Box<Reader>,
    /// Of the record that isn't whole yet: its fields one after the other, and where they end.
    fields: Vec<u8>,
    length: usize,
    ends: Vec<usize>,
    count: usize,
}

impl Records {
    pub(crate) fn new(delimiter: Delimiter) -> Self {
        Self {
            reader: Box::new(ReaderBuilder::new().delimiter(delimiter.byte()).build()),
            fields: Vec::new(),
            length: 0,
            ends: vec![0; 64],
            count: 0,
        }
    }

    /// Takes a line, with its end, and gives the record that ends with it. Without a line, the input has ended.
    ///
    /// # Errors
    /// When a carriage return by itself ends the record within the line, as on a Mac before 2001.
    pub(crate) fn line(&mut self, mut line: &[u8]) -> Option<Result<Record>> {
        self.fields.resize(self.length + line.len() + 1, 0);
        loop {
            let (result, read, written, ended) = self.reader.read_record(
                line,
                &mut self.fields[self.length..],
                &mut self.ends[self.count..],
            );
            line = &line[read..];
            self.length += written;
            self.count += ended;
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return None,
                ReadRecordResult::OutputFull => self.fields.resize(2 * self.fields.len() + 16, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => {
                    let record = self.take();
                    let is_whole = line.iter().all(|byte| b"\r\n".contains(byte));
                    if !is_whole {
                        self.reset();
                    }
                    return Some(match is_whole {
                        true => Ok(record),
                        false => Err(anyhow!(
                            "a carriage return without a line feed is within the line: quote the field, or end each row with a line feed"
                        )),
                    });
                }
            }
        }
    }

    /// How many bytes the record that isn't whole yet has.
    pub(crate) fn pending(&self) -> usize {
        self.length
    }

    /// Forgets the record that isn't whole yet, and what the line after it would have belonged to.
    pub(crate) fn reset(&mut self) {
        self.reader.reset();
        self.take();
    }

    fn take(&mut self) -> Record {
        let mut start = 0;
        let field = |&end: &usize| self.fields[std::mem::replace(&mut start, end)..end].to_vec();
        let record = self.ends[..self.count].iter().map(field).collect();
        (self.length, self.count) = (0, 0);
        record
    }
}

/// Appends a record.
pub(crate) fn write<'f>(
    out: &mut Vec<u8>,
    delimiter: Delimiter,
    record: impl IntoIterator<Item = &'f str>,
) {
    let mut writer: Writer = WriterBuilder::new().delimiter(delimiter.byte()).build();
    // Room for a field of nothing but quotes, and the quotes around it.
    let mut room = Vec::new();
    for (i, field) in record.into_iter().enumerate() {
        room.resize(room.len().max(2 * field.len() + 4), 0);
        if i > 0 {
            let (_, written) = writer.delimiter(&mut room);
            out.extend_from_slice(&room[..written]);
        }
        let (_, _, written) = writer.field(field.as_bytes(), &mut room);
        out.extend_from_slice(&room[..written]);
    }
    room.resize(room.len().max(4), 0);
    let (_, written) = writer.terminator(&mut room);
    out.extend_from_slice(&room[..written]);
}

/// The names of a table's columns.
pub(crate) fn header(record: Record) -> Result<Vec<String>> {
    let mut names: Vec<String> = Vec::new();
    for name in record {
        let name = String::from_utf8(name).ok();
        let Some(name) = name else {
            anyhow::bail!("the name of a column isn't UTF-8");
        };
        ensure!(
            !names.contains(&name),
            "two of the table's columns are called {name:?}: the first record names the columns"
        );
        names.push(name);
    }
    Ok(names)
}

/// A record as the fields of an object, one for each column, and what is wrong with it. A field that isn't there is empty, and what
/// isn't UTF-8 is replaced: the others tell which row it is.
pub(crate) fn fields(names: &[String], record: Result<Record>) -> Result<(Fields, Option<Error>)> {
    let (record, mut wrong) = match record {
        Ok(record) => (record, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    let count = record.len();
    if wrong.is_none() && count != names.len() {
        let s = if count == 1 { "" } else { "s" };
        wrong = Some(anyhow!(
            "the row has {count} field{s}, and the header {}",
            names.len()
        ));
    }
    let mut fields = Fields::default();
    let values = record
        .iter()
        .map(Vec::as_slice)
        .chain(std::iter::repeat(&[][..]));
    for (name, value) in names.iter().zip(values) {
        let text = String::from_utf8_lossy(value);
        if matches!(text, Cow::Owned(_)) {
            wrong.get_or_insert_with(|| anyhow!("the field {name:?} isn't UTF-8"));
        }
        fields.push(name.clone(), &text)?;
    }
    Ok((fields, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_go_round() {
        let fields = [
            "a",
            "",
            "b,c",
            "d\te",
            "say \"x\"",
            "two\nlines",
            "é",
            "\"",
            "'",
        ];
        for delimiter in [Delimiter::Comma, Delimiter::Tab] {
            let mut table = Vec::new();
            write(&mut table, delimiter, fields);
            write(&mut table, delimiter, [""]);
            write(&mut table, delimiter, ["last"; 100]);
            let mut records = Records::new(delimiter);
            let lines = table.split_inclusive(|&byte| byte == b'\n');
            let read: Vec<Vec<Vec<u8>>> = lines
                .filter_map(|line| records.line(line))
                .map(Result::unwrap)
                .collect();
            assert_eq!(read.len(), 3);
            assert_eq!(read[0], fields.map(|field| field.as_bytes().to_vec()));
            assert_eq!(read[1], [b""]);
            assert_eq!(read[2].len(), 100);
        }
    }

    #[test]
    fn records_of_others() {
        let mut records = Records::new(Delimiter::Comma);
        assert_eq!(
            records.line(b"a, \"b\",5\" disk\r\n").unwrap().unwrap(),
            [&b"a"[..], b" \"b\"", b"5\" disk"]
        );
        assert!(records.line(b"\n").is_none());
        assert!(records.line(b"\"x\r\n").is_none());
        assert!(records.pending() > 0);
        assert_eq!(
            records
                .line(b"y\"")
                .or_else(|| records.line(b""))
                .unwrap()
                .unwrap(),
            [b"x\r\ny"]
        );
        assert!(records.line(b"").is_none());
        assert!(records.line(b"\"never\n").is_none());
        records.reset();
        assert_eq!(records.line(b"a\n").unwrap().unwrap(), [b"a"]);
        assert_eq!(records.line(b"a\r\r\n").unwrap().unwrap(), [b"a"]);
        for bare in [&b"a\rb\n"[..], b"a\rb", b"a,1\rb,2\r"] {
            assert!(records.line(bare).unwrap().is_err());
        }
        assert_eq!(records.line(b"\"a\rb\"\n").unwrap().unwrap(), [b"a\rb"]);
    }
}
