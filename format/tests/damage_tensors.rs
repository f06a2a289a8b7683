//! Every invariant of the tensors broken on purpose, from bytes: one test a variant of the error.

use crate::common::*;
use rq_format::{FormatError, Place, TensorFormat, TensorSpec};
use xxhash_rust::xxh3::xxh3_64;

#[test]
fn directory_length() {
    let at = edit().section(4) + 16;
    let good = edit().get(at);
    refused!(
        edit().u64(at, good - 1).seal(),
        FormatError::DirectoryLength { found } if *found == good - 1
    );
}

#[test]
fn tensor_names() {
    let record = edit().tensor(1);
    let mut field = [0; 72];
    field[..4].copy_from_slice(b"a\0b\0");
    let names: [&[u8]; 5] = [&[b'x'; 72], &[0], b"a b", "ä".as_bytes(), &field];
    for name in names {
        refused!(
            edit().bytes(record, &[0; 72]).bytes(record, name).seal(),
            FormatError::TensorName { index: 1, .. }
        );
    }
    // 71 bytes are fine, though no model has such a tensor.
    refused!(
        edit().bytes(record, &[b'x'; 71]).seal(),
        FormatError::MissingTensor { .. }
    );
}

#[test]
fn duplicate_tensor() {
    let mut twice = edit();
    let (from, to) = (twice.tensor(3), twice.tensor(4));
    let name = twice.0[from..from + 72].to_vec();
    refused!(
        twice.bytes(to, &name).seal(),
        FormatError::DuplicateTensor { name } if name == "embeddings.norm.weight"
    );
}

#[test]
fn unknown_tensor_format() {
    let at = edit().tensor(2) + 72;
    for found in [3, u32::MAX] {
        refused!(
            edit().u32(at, found).seal(),
            FormatError::UnknownTensorFormat { name, found: f }
                if name == "embeddings.token_type" && *f == found
        );
    }
}

#[test]
fn dimensions() {
    for at in [edit().tensor(0) + 80, edit().tensor(0) + 88] {
        for value in [0, (1 << 31) + 1, u64::MAX] {
            refused!(edit().u64(at, value).seal(), FormatError::Dimensions { .. });
        }
    }
    // 2^31 x 2^31 is legal in itself; its bytes are in no file.
    let at = edit().tensor(0) + 80;
    let error = edit().u64(at, 1 << 31).u64(at + 8, 1 << 31).seal().error();
    assert!(matches!(
        error,
        FormatError::TensorLength { .. } | FormatError::TooLarge { .. }
    ));
}

#[test]
fn too_large() {
    // 2^31 rows of 2^31 floats: 2^64 bytes.
    let record = edit().tensor(1);
    refused!(
        edit()
            .u64(record + 80, 1 << 31)
            .u64(record + 88, 1 << 31)
            .seal(),
        FormatError::TooLarge { name, .. } if name == "embeddings.position"
    );
    for format in TensorFormat::ALL {
        assert_eq!(format.byte_len(usize::MAX, usize::MAX), None);
    }
}

#[test]
fn tensor_length() {
    let at = edit().tensor(0) + 104;
    refused!(
        edit().u64(at, 4159).seal(),
        FormatError::TensorLength {
            expected: 4160,
            found: 4159,
            ..
        }
    );
    assert_eq!(
        edit().u64(at, 4159).seal().error().to_string(),
        "the tensor `embeddings.word` (q8, 20 x 32) takes 4160 bytes, not 4159"
    );
}

#[test]
fn tensors_out_of_place() {
    let at = edit().tensor(2) + 96;
    let good = edit().get(at);
    refused!(
        edit().u64(at, good + 32).seal(),
        FormatError::Misaligned { .. }
    );
    refused!(
        edit().u64(at, good - 64).seal(),
        FormatError::Overlap { .. }
    );
    refused!(edit().u64(at, 0).seal(), FormatError::Overlap { .. });
    refused!(edit().u64(at, good + 64).seal(), FormatError::Hole { .. });
    refused!(
        edit().u64(at, u64::MAX - 63).seal(),
        FormatError::Hole { .. }
    );
    // The last tensor reaches beyond the section: a row more than there are bytes.
    let mut beyond = edit();
    let data_len = beyond.section(5) + 16;
    let record = beyond.tensor(specs(&config()).len() - 1);
    let columns = beyond.get(record + 88);
    assert_eq!((beyond.get(record + 80), columns), (1, 20));
    beyond.u64(record + 80, 2).u64(record + 104, 256).seal();
    refused!(
        beyond,
        FormatError::OutOfBounds {
            place: Place::Tensor(_),
            ..
        }
    );
    // And one that ends before the section does.
    let mut before = edit();
    before.u64(record + 88, 16).u64(record + 104, 64).seal();
    refused!(before, FormatError::TrailingBytes { .. });
    assert!(before.get(data_len) > 0);
}

#[test]
fn missing_and_unexpected_tensors() {
    let record = edit().tensor(4);
    refused!(
        edit().bytes(record, b"embeddings.norm.bogus").seal(),
        FormatError::MissingTensor { name } if name == "embeddings.norm.bias"
    );
    let extra = with_tensors(|tensors| {
        let name = "pooler.bias".into();
        tensors.push(TensorSpec {
            name,
            ..tensors[4].clone()
        });
    });
    refused!(
        extra,
        FormatError::UnexpectedTensor { name } if name == "pooler.bias"
    );
}

#[test]
fn wrong_shape_and_wrong_format() {
    refused!(
        with_tensors(|tensors| tensors[1].rows += 1),
        FormatError::Shape { name, expected: (6, 32), found: (7, 32) } if name == "embeddings.position"
    );
    let floats = with_tensors(|tensors| tensors[0].format = TensorFormat::F32);
    refused!(
        floats,
        FormatError::FormatNotAllowed {
            found: TensorFormat::F32,
            ..
        }
    );
    assert_eq!(
        floats.error().to_string(),
        "the tensor `embeddings.word` is in f32; embeddings are in q8 or q4"
    );
    refused!(
        with_tensors(|tensors| tensors[3].format = TensorFormat::Q4),
        FormatError::FormatNotAllowed {
            found: TensorFormat::Q4,
            ..
        }
    );
}

#[test]
fn values() {
    let specs = specs(&config());
    let position = |name: &str| specs.iter().position(|s| s.name == name).unwrap();
    // The tensor, an offset within it, bytes that are no weight, and what is said of them.
    let cases: [(&str, usize, &[u8], &str); 11] = [
        (
            "embeddings.position",
            128,
            &f32::NAN.to_le_bytes(),
            "a float that isn't finite",
        ),
        (
            "embeddings.norm.bias",
            124,
            &f32::INFINITY.to_le_bytes(),
            "a float that isn't finite",
        ),
        (
            "lm_head.decoder.bias",
            80,
            &1f32.to_le_bytes(),
            "padding that isn't zero",
        ),
        (
            "lm_head.decoder.bias",
            124,
            &(-0f32).to_le_bytes(),
            "padding that isn't zero",
        ),
        ("embeddings.word", 517, &[0], "the code -128"),
        ("embeddings.word", 4095, &[0], "the code -128"),
        (
            "embeddings.word",
            4096,
            &[0x00, 0x7c],
            "a scale that isn't finite",
        ),
        (
            "embeddings.word",
            4158,
            &[1, 0],
            "the scale of a row of padding, which isn't zero",
        ),
        (
            "lm_head.dense.weight",
            2176 + 62,
            &[0xff, 0xff],
            "a scale that isn't finite",
        ),
        // The first sub-scales and the last: one in the low bits, one in the high bits.
        ("lm_head.dense.weight", 1024, &[0xf0], "a sub-scale of 0"),
        ("lm_head.dense.weight", 2175, &[0x0f], "a sub-scale of 0"),
    ];
    for (name, at, bytes, what) in cases {
        let mut bad = edit();
        let record = bad.tensor(position(name));
        let (offset, len) = (
            bad.get(record + 96) as usize,
            bad.get(record + 104) as usize,
        );
        bad.bytes(offset + at, bytes);
        let checksum = xxh3_64(&bad.0[offset..offset + len]);
        bad.u64(record + 112, checksum).seal();
        let error = read_all(&bad.0).unwrap_err();
        assert!(
            matches!(&error, FormatError::Value { name: n, offset, found }
                if n == name && *offset == at && *found == what),
            "{name} at {at}: {error}"
        );
    }
}
