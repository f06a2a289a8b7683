//! Files as torch.save writes them, from their bytes up, so that each can be wrong in one way.

use super::{Dtype, Tensors};
use half::{bf16, f16};

/// An entry of a zip. What is written of it is its own, unless a field says otherwise.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) crc: u32,
    /// The name before the content, rather than in the directory.
    pub(crate) local_name: String,
}

impl Entry {
    pub(crate) fn new(name: &str, content: impl Into<Vec<u8>>) -> Self {
        let content = content.into();
        Self {
            name: name.into(),
            crc: rawzip::crc32(&content),
            content,
            method: 0,
            flags: 0,
            local_name: name.into(),
        }
    }
}

/// A zip of these entries; `zip64` as torch writes it beyond 4 GB.
pub(crate) fn zip(entries: &[Entry], zip64: bool) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    let narrow = |value: usize| if zip64 { u32::MAX } else { value as u32 };
    for entry in entries {
        let offset = bytes.len();
        let length = entry.content.len();
        let header = |name: &str, extra: usize| {
            let mut header = Vec::new();
            for field in [20, entry.flags, entry.method, 0, 0] {
                header.extend(field.to_le_bytes());
            }
            for field in [entry.crc, narrow(length), narrow(length)] {
                header.extend(field.to_le_bytes());
            }
            for field in [name.len() as u16, extra as u16] {
                header.extend(field.to_le_bytes());
            }
            header
        };
        let extra = |values: &[usize]| {
            let mut extra = Vec::new();
            if zip64 {
                extra.extend(1_u16.to_le_bytes());
                extra.extend((8 * values.len() as u16).to_le_bytes());
                extra.extend(values.iter().flat_map(|v| (*v as u64).to_le_bytes()));
            }
            extra
        };
        let local_extra = extra(&[length, length]);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(header(&entry.local_name, local_extra.len()));
        bytes.extend(entry.local_name.as_bytes());
        bytes.extend(local_extra);
        bytes.extend(&entry.content);

        let extra = extra(&[length, length, offset]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(header(&entry.name, extra.len()));
        directory.extend([0; 10]);
        directory.extend(narrow(offset).to_le_bytes());
        directory.extend(entry.name.as_bytes());
        directory.extend(extra);
    }
    let (start, count) = (bytes.len(), entries.len());
    let length = directory.len();
    bytes.extend(directory);
    let end = bytes.len();
    if zip64 {
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for field in [count, count, length, start] {
            bytes.extend((field as u64).to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend((end as u64).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
    }
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    let count = if zip64 { u16::MAX } else { count as u16 };
    bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend([narrow(length).to_le_bytes(), narrow(start).to_le_bytes()].concat());
    bytes.extend([0, 0]);
    bytes
}

/// A tensor as a pickle describes it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) storage_type: &'static str,
    pub(crate) storage: String,
    pub(crate) storage_len: i64,
    pub(crate) offset: i64,
    pub(crate) shape: Vec<i64>,
    pub(crate) strides: Vec<i64>,
}

/// The state dictionary of these tensors.
pub(crate) fn pickle(tensors: &[(&str, View)]) -> Vec<u8> {
    let ordered_dict = b"ccollections\nOrderedDict\n)R";
    let mut bytes = [&b"\x80\x02"[..], ordered_dict, b"("].concat();
    let int = |int: i64| [b"\x8a\x08", &int.to_le_bytes()[..]].concat();
    let tuple = |ints: &[i64]| {
        let ints: Vec<u8> = ints.iter().flat_map(|i| int(*i)).collect();
        [b"(", &ints[..], b"t"].concat()
    };
    for (name, view) in tensors {
        bytes.extend(text(name));
        bytes.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        bytes.extend(text("storage"));
        bytes.extend(format!("ctorch\n{}\n", view.storage_type).bytes());
        bytes.extend([text(&view.storage), text("cpu"), int(view.storage_len)].concat());
        bytes.extend(b"tQ");
        bytes.extend([int(view.offset), tuple(&view.shape), tuple(&view.strides)].concat());
        bytes.extend(b"\x89");
        bytes.extend(ordered_dict);
        bytes.extend(b"tR");
    }
    bytes.extend(b"u.");
    bytes
}

/// A file as torch wrote it before 1.6: the pickle of the tensors, the names of the storages, and each storage: the number of
/// its elements, and its content.
pub(crate) fn legacy(
    little_endian: bool,
    pickle: &[u8],
    names: &[&str],
    storages: &[(u64, &[u8])],
) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec();
    bytes.extend(b"\x80\x02}X\x0d\0\0\0little_endian");
    bytes.extend(if little_endian { b"\x88s." } else { b"\x89s." });
    bytes.extend(pickle);
    bytes.extend(b"\x80\x02](");
    for name in names {
        bytes.extend(text(name));
    }
    bytes.extend(b"e.");
    for (elements, content) in storages {
        bytes.extend(elements.to_le_bytes());
        bytes.extend(*content);
    }
    bytes
}

/// A string in a pickle.
fn text(text: &str) -> Vec<u8> {
    [
        b"X",
        &(text.len() as u32).to_le_bytes()[..],
        text.as_bytes(),
    ]
    .concat()
}

/// The entries of a file of these tensors, in the order of torch.
pub(crate) fn entries(tensors: &Tensors, dtype: Dtype) -> Vec<Entry> {
    let (mut views, mut storages) = (Vec::new(), Vec::new());
    for (key, (name, (shape, values))) in tensors.iter().enumerate() {
        let bytes = values.iter().flat_map(|&x| match dtype {
            Dtype::F32 => x.to_le_bytes().to_vec(),
            Dtype::F16 => f16::from_f32(x).to_le_bytes().to_vec(),
            Dtype::BF16 => bf16::from_f32(x).to_le_bytes().to_vec(),
            Dtype::I32 => (x as i32).to_le_bytes().to_vec(),
        });
        let stride = |from: usize| shape[from + 1..].iter().product::<usize>() as i64;
        let view = View {
            storage_type: match dtype {
                Dtype::F32 => "FloatStorage",
                Dtype::F16 => "HalfStorage",
                Dtype::BF16 => "BFloat16Storage",
                Dtype::I32 => "IntStorage",
            },
            storage: key.to_string(),
            storage_len: values.len() as i64,
            offset: 0,
            shape: shape.iter().map(|n| *n as i64).collect(),
            strides: (0..shape.len()).map(stride).collect(),
        };
        views.push((name.as_str(), view));
        storages.push(Entry::new(
            &format!("model/data/{key}"),
            bytes.collect::<Vec<u8>>(),
        ));
    }
    let mut entries = vec![
        Entry::new("model/data.pkl", pickle(&views)),
        Entry::new("model/byteorder", "little"),
    ];
    entries.extend(storages);
    entries.push(Entry::new("model/version", "3\n"));
    entries
}

/// A file of these tensors.
pub(crate) fn file(tensors: &Tensors, dtype: Dtype) -> Vec<u8> {
    zip(&entries(tensors, dtype), false)
}
