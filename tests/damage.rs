//! Files that were cut or changed: each is refused with a reason, and nothing panics.

use crate::common::converted;
use rq::Model;
use rq_convert::Quant;
use rq_format::Section;
use std::error::Error;
use std::ops::Range;

fn bytes() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::read(converted("sapiens-vh", Quant::Q8, directory.path())).unwrap()
}

/// The bytes with one bit of one of them changed.
fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    bytes
}

/// The first byte, one in the middle, and the last one.
fn places(range: Range<usize>) -> [usize; 3] {
    [range.start, range.start.midpoint(range.end), range.end - 1]
}

/// Where a section is, read from the table as FORMAT.md describes it.
fn section(bytes: &[u8], section: Section) -> Range<usize> {
    let record = 64 + 32 * (section as usize - 1);
    let number = |at: usize| {
        let bytes = bytes[record + at..].first_chunk().unwrap();
        u64::from_le_bytes(*bytes) as usize
    };
    number(8)..number(8) + number(16)
}

/// The reason that a file is refused for: one line, with its causes.
#[track_caller]
fn reason(bytes: Vec<u8>) -> String {
    let error = Model::from_bytes(bytes).expect_err("a damaged file");
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    assert_eq!(reason.lines().count(), 1, "{reason}");
    reason
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = bytes();
    let len = bytes.len();
    let lengths = (0..1200)
        .chain((1200..len).step_by(4099))
        .chain(len - 100..len);
    for length in lengths {
        let reason = reason(bytes[..length].to_vec());
        let said = match length {
            0..64 => format!("has {length} bytes; its header"),
            _ => format!("has {len} bytes; it has {length}"),
        };
        assert!(reason.contains(&said), "{length}: {reason}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(reason(longer).contains(&format!("it has {}", len + 1)));
}

#[test]
fn a_changed_byte_outside_the_tensors_is_found_on_opening() {
    let bytes = bytes();
    for at in 0..224 {
        reason(flipped(&bytes, at));
    }
    for (kind, name) in [
        (Section::Config, "Config"),
        (Section::Provenance, "Provenance"),
        (Section::Tokenizer, "Tokenizer"),
        (Section::TensorDirectory, "TensorDirectory"),
    ] {
        for at in places(section(&bytes, kind)) {
            let reason = reason(flipped(&bytes, at));
            let said = format!("the section {name} is damaged");
            assert!(reason.starts_with(&said), "byte {at}: {reason}");
        }
    }
}

#[test]
fn a_changed_byte_in_a_tensor_is_found_by_verify() {
    let bytes = bytes();
    let sound = Model::from_bytes(bytes.clone()).unwrap();
    sound.file().verify().unwrap();
    for tensor in sound.file().tensors() {
        let start = tensor.offset as usize;
        for at in places(start..start + tensor.length as usize) {
            let model = Model::from_bytes(flipped(&bytes, at)).unwrap();
            let error = model.file().verify().unwrap_err().to_string();
            let said = format!("the tensor `{}` is damaged", tensor.name);
            assert!(error.starts_with(&said), "byte {at}: {error}");
        }
    }
}
