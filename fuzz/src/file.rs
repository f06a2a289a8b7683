//! A model file taken apart, changed, and put together again with checksums that hold: so that a change gets as far as what
//! is behind them.

use crate::input::Input;
use rq_format::{ModelFile, Section, TensorFormat};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

const TABLE: usize = 64;
const SECTION_RECORD: usize = 32;
const TENSOR_RECORD: usize = 128;
/// Bits of the largest and smallest floats, of either sign, of ordinary ones, and of infinity.
const EXTREME_F32: [u32; 8] = [
    0x7f7f_ffff,
    0xff7f_ffff,
    0x0000_0001,
    0x8000_0000,
    0x0080_0000,
    0x5f00_0000,
    0xbf80_0001,
    0x7f80_0000,
];
const EXTREME_F16: [u16; 8] = [
    0x7bff, 0xfbff, 0x0001, 0x8000, 0x0400, 0x5c00, 0xbc01, 0x7c00,
];
/// The longest file that is made: changes can grow it.
const MAX_LEN: usize = 1 << 20;

/// A tensor, whatever its record says of it.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// What the directory says of it.
    pub record: [u8; TENSOR_RECORD],
    /// Its bytes in the data section.
    pub content: Vec<u8>,
}

/// The parts of a file.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Config, provenance and tokenizer.
    pub texts: [Vec<u8>; 3],
    /// In the directory's order.
    pub tensors: Vec<Tensor>,
}

impl Parts {
    /// Takes a sound file apart.
    pub fn of(file: &[u8]) -> Self {
        let model = ModelFile::from_bytes(file.to_vec()).expect("a sound file");
        let section = |section: Section| {
            let record = TABLE + SECTION_RECORD * (section as usize - 1);
            let start = number(file, record + 8) as usize;
            &file[start..start + number(file, record + 16) as usize]
        };
        let records = section(Section::TensorDirectory).as_chunks().0;
        let tensors = records.iter().zip(model.tensors()).map(|(record, info)| {
            let start = info.offset as usize;
            Tensor {
                record: *record,
                content: file[start..start + info.length as usize].to_vec(),
            }
        });
        Self {
            texts: [Section::Config, Section::Provenance, Section::Tokenizer]
                .map(|s| section(s).to_vec()),
            tensors: tensors.collect(),
        }
    }

    /// A file of these parts. Offsets are set; what else the records say is left as it is.
    pub fn assemble(&self) -> Vec<u8> {
        let mut file = vec![0; TABLE + 5 * SECTION_RECORD];
        let mut table = Vec::new();
        let pad = |file: &mut Vec<u8>| file.resize(file.len().next_multiple_of(64), 0);
        let directory: Vec<u8> = self.tensors.iter().flat_map(|t| t.record).collect();
        let [config, provenance, tokenizer] = &self.texts;
        for section in [config, provenance, tokenizer, &directory] {
            pad(&mut file);
            table.push((file.len(), section.len()));
            file.extend_from_slice(section);
        }
        let records = table[3].0;
        pad(&mut file);
        let data = file.len();
        for (i, tensor) in self.tensors.iter().enumerate() {
            pad(&mut file);
            let offset = file.len() as u64;
            file.extend_from_slice(&tensor.content);
            put(&mut file, records + i * TENSOR_RECORD + 96, offset);
        }
        table.push((data, file.len() - data));
        file[..8].copy_from_slice(&rq_format::MAGIC);
        file[8..12].copy_from_slice(&rq_format::VERSION.to_le_bytes());
        file[12] = 5;
        let len = file.len() as u64;
        put(&mut file, 16, len);
        put(&mut file, 24, TABLE as u64);
        for (i, (offset, length)) in table.into_iter().enumerate() {
            let record = TABLE + i * SECTION_RECORD;
            put(&mut file, record, i as u64 + 1);
            put(&mut file, record + 8, offset as u64);
            put(&mut file, record + 16, length as u64);
        }
        file
    }

    /// Changes a part, as an input says.
    pub fn change(&mut self, input: &mut Input<'_>, numbers: &mut Vec<(usize, u64)>) {
        let kind = input.byte() % 12;
        let tensor = match self.tensors.len() {
            0 => None,
            len => Some(input.below(len)),
        };
        match (kind, tensor) {
            (0..3, _) => {
                let room = MAX_LEN.saturating_sub(self.texts.iter().map(Vec::len).sum());
                let text = &mut self.texts[usize::from(kind)];
                let start = input.below(text.len() + 1);
                let end = (start + usize::from(input.byte())).min(text.len());
                let times = 1 + input.below(64);
                let inserted = input.string();
                let inserted = inserted.repeat(times.min(room / inserted.len().max(1)));
                text.splice(start..end, inserted);
            }
            (3, _) => numbers.push((input.below(TABLE + 5 * SECTION_RECORD), input.number())),
            (4, Some(at)) => {
                let tensor = &mut self.tensors[at];
                let start = input.below(tensor.content.len().max(1));
                for (to, from) in tensor.content.iter_mut().skip(start).zip(input.string()) {
                    *to = *from;
                }
            }
            (5, Some(at)) => {
                let (field, number) = (input.below(TENSOR_RECORD - 8), input.number());
                self.tensors[at].record[field..field + 8].copy_from_slice(&number.to_le_bytes());
            }
            (6, Some(at)) => {
                let tensor = self.tensors.remove(at);
                let to = input.below(self.tensors.len() + 2);
                if to <= self.tensors.len() {
                    self.tensors.insert(to, tensor);
                }
            }
            (7, Some(at)) => {
                let len = (self.tensors[at].content.len() + usize::from(input.byte()))
                    .saturating_sub(input.below(4096));
                self.tensors[at].content.resize(len, input.byte());
                put(&mut self.tensors[at].record, 104, len as u64);
            }
            (8, Some(at)) => {
                // Another shape, with bytes for it.
                let (format, rows, columns) =
                    (input.byte() % 3, input.below(512), input.below(512));
                let len = TensorFormat::ALL[usize::from(format)].byte_len(rows, columns);
                let len = len.expect("small dimensions");
                let tensor = &mut self.tensors[at];
                tensor.content.resize(len.min(MAX_LEN), input.byte());
                tensor.record[72] = format;
                for (at, value) in [(80, rows), (88, columns), (104, len)] {
                    put(&mut tensor.record, at, value as u64);
                }
            }
            (9 | 10, Some(at)) => {
                // Numbers at the ends of f16 or f32, in all of a tensor or some of it.
                let tensor = &mut self.tensors[at];
                let (kind, rare) = (input.byte(), input.below(64));
                let value = match kind % 2 {
                    0 => &EXTREME_F32[usize::from(kind / 2) % 8].to_le_bytes()[..],
                    _ => &EXTREME_F16[usize::from(kind / 2) % 8].to_le_bytes(),
                };
                let places = tensor.content.chunks_exact_mut(value.len());
                places
                    .step_by(1 + rare)
                    .for_each(|place| place.copy_from_slice(value));
            }
            _ => {
                // A number of the configuration.
                let (which, value) = (input.byte(), input.number());
                self.texts[0] = with_number(&self.texts[0], which.into(), value);
            }
        }
    }
}

/// JSON with another number in the place of one of its own.
fn with_number(json: &[u8], which: usize, value: u64) -> Vec<u8> {
    let starts: Vec<usize> = (1..json.len())
        .filter(|&i| json[i].is_ascii_digit() && json[i - 1] == b':')
        .collect();
    if starts.is_empty() {
        return json.to_vec();
    }
    let start = starts[which % starts.len()];
    let rest = json[start..].iter();
    let len = rest.take_while(|b| !matches!(b, b',' | b'}')).count();
    [
        &json[..start],
        value.to_string().as_bytes(),
        &json[start + len..],
    ]
    .concat()
}

/// Makes the checksums those of the bytes, as far as what they are of lies within the file.
pub fn seal(file: &mut [u8]) {
    let within = |file: &[u8], offset: u64, length: u64| {
        let end = offset.checked_add(length)?;
        (end <= file.len() as u64).then_some(offset as usize..end as usize)
    };
    let section = |file: &[u8], kind: usize| {
        let record = TABLE + SECTION_RECORD * (kind - 1);
        within(file, number(file, record + 8), number(file, record + 16))
    };
    if file.len() < TABLE + 5 * SECTION_RECORD {
        return;
    }
    if let Some(directory) = section(file, 4) {
        for record in directory.step_by(TENSOR_RECORD) {
            if record + TENSOR_RECORD > file.len() {
                break;
            }
            let (offset, length) = (number(file, record + 96), number(file, record + 104));
            if let Some(content) = within(file, offset, length) {
                let checksum = xxh3_64(&file[content]);
                put(file, record + 112, checksum);
            }
        }
    }
    for kind in 1..=4 {
        if let Some(content) = section(file, kind) {
            let checksum = xxh3_64(&file[content]);
            put(file, TABLE + SECTION_RECORD * (kind - 1) + 24, checksum);
        }
    }
    let mut hash = Xxh3Default::new();
    hash.update(&file[..56]);
    hash.update(&file[TABLE..TABLE + 5 * SECTION_RECORD]);
    put(file, 56, hash.digest());
}

fn number(file: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| file[at + i]))
}

/// Writes a number; a part of it that is behind the end is left out.
pub fn put(file: &mut [u8], at: usize, value: u64) {
    for (to, from) in file.iter_mut().skip(at).zip(value.to_le_bytes()) {
        *to = from;
    }
}
