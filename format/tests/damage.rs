//! Every invariant of header and sections broken on purpose, from bytes: one test a variant of the error; and every
//! cut and every changed byte of a whole file.

use crate::common::*;
use rq_format::{
    ConfigError, FormatError, MAX_CONFIG_LEN, ModelFile, Place, ProvenanceError, START_LEN,
    Section, announced_len,
};
use std::error::Error;

#[test]
fn every_cut_is_noticed() {
    let good = good();
    for len in 0..good.len() {
        let error = ModelFile::from_bytes(good[..len].to_vec()).unwrap_err();
        let expected = match len {
            0..64 => matches!(error, FormatError::TooShort { .. }),
            _ => matches!(error, FormatError::FileLength { .. }),
        };
        assert!(expected, "cut to {len}: {error}");
    }
}

#[test]
fn every_flipped_byte_is_noticed() {
    let mut bytes = good();
    read_all(&bytes).unwrap();
    for at in 0..bytes.len() {
        for mask in [1 << (at % 8), 0xff] {
            bytes[at] ^= mask;
            assert!(read_all(&bytes).is_err(), "byte {at} ^ {mask:#04x}");
            bytes[at] ^= mask;
        }
    }
    read_all(&bytes).unwrap();
}

#[test]
fn the_start_announces_the_length() {
    let mut bytes = good();
    let len = bytes.len() as u64;
    for known in [START_LEN, START_LEN + 1, bytes.len()] {
        assert_eq!(announced_len(&bytes[..known]).unwrap(), len);
    }
    for known in 0..START_LEN {
        let error = announced_len(&bytes[..known]).unwrap_err();
        assert!(matches!(error, FormatError::TooShort { found } if found == known as u64));
    }
    for at in 0..START_LEN {
        bytes[at] ^= 1;
        assert!(announced_len(&bytes[..START_LEN]).is_err(), "byte {at}");
        bytes[at] ^= 1;
    }
}

#[test]
fn not_a_model() {
    let error = ModelFile::from_bytes(&b"{\"weights\": 1}"[..]).unwrap_err();
    assert!(matches!(&error, FormatError::Magic { found } if found == b"{\"weight"));
    // A transfer as text that turned CR LF into LF.
    let mut lf = good();
    lf.remove(4);
    refused!(Edit(lf), FormatError::Magic { .. });
}

#[test]
fn too_short() {
    let empty = ModelFile::from_bytes(vec![]).unwrap_err();
    assert!(matches!(empty, FormatError::TooShort { found: 0 }));
    // A header that owns up to its length, but no table.
    let mut short = edit();
    short.0.truncate(200);
    short.u64(16, 200);
    refused!(short, FormatError::TooShort { found: 200 });
}

#[test]
fn newer_version() {
    let mut newer = edit();
    newer.u32(8, 3);
    refused!(newer, FormatError::NewerVersion { found: 3 });
    assert_eq!(
        newer.error().to_string(),
        "made by a newer rq: version 3 of the format; this one reads version 2"
    );
    refused!(edit().u32(8, 0), FormatError::NoSuchVersion { found: 0 });
}

#[test]
fn older_version() {
    let mut older = edit();
    older.u32(8, 1);
    assert_eq!(
        older.error().to_string(),
        "made by an earlier rq: version 1 of the format, which this one no longer reads; convert the model again"
    );
    // Whatever is behind the version: a right checksum, or a wrong one, another number of sections, and another length.
    refused!(older.seal(), FormatError::OlderVersion { found: 1 });
    older.u64(56, 0).u32(12, 9).0.truncate(64);
    refused!(older, FormatError::OlderVersion { found: 1 });
}

#[test]
fn section_count() {
    for found in [0, 4, 6, u32::MAX] {
        let mut edit = edit();
        refused!(edit.u32(12, found), FormatError::SectionCount { found: f } if *f == found);
    }
}

#[test]
fn table_offset() {
    for found in [0, 128, u64::MAX] {
        let mut edit = edit();
        refused!(edit.u64(24, found), FormatError::TableOffset { found: f } if *f == found);
    }
}

#[test]
fn file_length_and_trailing_bytes() {
    let mut longer = edit();
    longer.0.push(0);
    refused!(longer, FormatError::FileLength { .. });
    // The header owns up to the byte, but no section does.
    let len = longer.0.len() as u64;
    longer.u64(16, len).seal();
    refused!(
        longer,
        FormatError::TrailingBytes { place: Place::Section(Section::TensorData), expected, found }
            if (*expected, *found) == (len - 1, len)
    );
    // The section does, but no tensor.
    let length = longer.section(5) + 16;
    let data_len = longer.get(length);
    longer.u64(length, data_len + 1).seal();
    refused!(longer, FormatError::TrailingBytes { found, .. } if *found == len);
}

#[test]
fn header_checksum() {
    refused!(edit().u64(80, 1), FormatError::HeaderChecksum { .. });
}

#[test]
fn reserved_fields() {
    let offsets = [32, 48, TABLE + 4, edit().section(5) + 4];
    for at in offsets {
        refused!(edit().u32(at, 1).seal(), FormatError::Reserved { .. });
    }
    let tensor = edit().tensor(3);
    for at in [tensor + 76, tensor + 120] {
        refused!(
            edit().u32(at, 1).seal(),
            FormatError::Reserved { offset } if *offset == at as u64
        );
    }
}

#[test]
fn section_kinds() {
    refused!(
        edit().u32(TABLE + 32, 9).seal(),
        FormatError::SectionKind {
            index: 1,
            expected: Section::Provenance,
            found: 9
        }
    );
    // The right kinds in another order.
    refused!(
        edit().u32(TABLE, 2).u32(TABLE + 32, 1).seal(),
        FormatError::SectionKind { index: 0, .. }
    );
}

#[test]
fn sections_out_of_place() {
    for kind in 1..=5 {
        let at = edit().section(kind) + 8;
        let good = edit().get(at);
        let section = Section::ALL[kind - 1];
        let is = |place: &Place| *place == Place::Section(section);
        refused!(
            edit().u64(at, good + 1).seal(),
            FormatError::Misaligned { place, .. } if is(place)
        );
        refused!(
            edit().u64(at, good - 64).seal(),
            FormatError::Overlap { place, expected, .. } if is(place) && *expected == good
        );
        refused!(
            edit().u64(at, good + 64).seal(),
            FormatError::Hole { place, expected, .. } if is(place) && *expected == good
        );
        refused!(
            edit().u64(at, u64::MAX - 63).seal(),
            FormatError::Hole { place, .. } if is(place)
        );
    }
}

#[test]
fn sections_of_a_wrong_length() {
    for kind in 1..=5 {
        let at = edit().section(kind) + 16;
        let section = Section::ALL[kind - 1];
        refused!(
            edit().u64(at, 0).seal(),
            FormatError::EmptySection { section: s } if *s == section
        );
        let (good, max) = (edit().get(at), u64::MAX);
        if section == Section::TensorData {
            for length in [good + 1, max, max - edit().start(kind) as u64 + 1] {
                refused!(
                    edit().u64(at, length).seal(),
                    FormatError::OutOfBounds { .. }
                );
            }
        } else {
            refused!(
                edit().u64(at, max).seal(),
                FormatError::SectionTooLong { section: s, found: u64::MAX, .. } if *s == section
            );
            refused!(
                edit().u64(at, 1 << 20).seal(),
                FormatError::OutOfBounds { .. }
            );
        }
    }
}

#[test]
fn section_too_long() {
    let at = edit().section(1) + 16;
    refused!(
        edit().u64(at, MAX_CONFIG_LEN + 1).seal(),
        FormatError::SectionTooLong { found, limit: MAX_CONFIG_LEN, .. } if *found == MAX_CONFIG_LEN + 1
    );
}

#[test]
fn padding() {
    // Between the table and the configuration: checked when the file is opened.
    refused!(
        edit().bytes(230, &[1]).seal(),
        FormatError::Padding { offset: 230 }
    );
    // Between two tensors: checked by verify.
    let good = edit();
    let end = |i: usize| {
        let record = good.tensor(i);
        (good.get(record + 96) + good.get(record + 104)) as usize
    };
    let last = (0..).map(end).find(|end| !end.is_multiple_of(64)).unwrap();
    let mut padded = edit();
    padded.bytes(last, &[1]);
    let error = read_all(&padded.0).unwrap_err();
    assert!(matches!(error, FormatError::Padding { offset } if offset == last as u64));
}

#[test]
fn checksums() {
    for (kind, section) in (1..=4).zip(Section::ALL) {
        let mut damaged = edit();
        let start = damaged.start(kind);
        damaged.0[start + 2] ^= 1;
        let error = read_all(&damaged.0).unwrap_err();
        assert!(
            matches!(&error, FormatError::Checksum { place: Place::Section(s), .. } if *s == section),
            "{error}"
        );
    }
    let mut damaged = edit();
    let offset = damaged.get(damaged.tensor(5) + 96) as usize;
    damaged.0[offset] ^= 1;
    let error = read_all(&damaged.0).unwrap_err();
    assert!(matches!(
        &error,
        FormatError::Checksum { place: Place::Tensor(name), .. }
            if name == "layers.0.attention.qkv.weight"
    ));
}

#[test]
fn the_data_section_has_no_checksum() {
    let at = edit().section(5) + 24;
    refused!(
        edit().u64(at, 1).seal(),
        FormatError::ChecksumNotZero {
            section: Section::TensorData,
            found: 1
        }
    );
}

#[test]
fn json() {
    for json in [
        "",
        " ",
        "{",
        "null",
        "[]",
        "\u{0}",
        "{}",
        "{\"architecture\":\"bert\"}",
        "1e999",
    ] {
        let bad = with_config(|_| json.into());
        match json {
            "" => refused!(bad, FormatError::EmptySection { .. }),
            _ => refused!(
                bad,
                FormatError::Json {
                    section: Section::Config,
                    ..
                }
            ),
        }
    }
    for bomb in ["[".repeat(100_000), "{\"labels\":".repeat(100_000)] {
        refused!(with_config(|_| bomb.clone()), FormatError::Json { .. });
    }
    let changes = [
        ("{\"architecture\"", "{\"dropout\":0.1,\"architecture\""),
        ("\"vocab_size\":20", "\"vocab_size\":-20"),
        ("\"vocab_size\":20", "\"vocab_size\":20.5"),
        ("\"vocab_size\":20", "\"vocab_size\":20,\"vocab_size\":20"),
        ("\"vocab_size\":20", "\"vocab_size\":99999999999999999999"),
        ("\"vocab_size\":20,", ""),
        ("\"gelu\"", "\"relu\""),
        ("}", "} {}"),
    ];
    for (from, to) in changes {
        let bad = with_config(|json| json.replacen(from, to, 1));
        refused!(
            bad,
            FormatError::Json {
                section: Section::Config,
                ..
            }
        );
    }
}

#[test]
fn config_and_its_cause() {
    let bad =
        with_config(|json| json.replace("\"num_attention_heads\":2", "\"num_attention_heads\":5"));
    refused!(bad, FormatError::Config(ConfigError::Heads { .. }));
    let cause = bad.error().source().unwrap().to_string();
    assert_eq!(
        cause,
        "num_attention_heads is 5; it must divide hidden_size, 32"
    );
}

#[test]
fn provenance_without_a_source() {
    let mut bad = edit();
    let start = bad.start(2);
    // Same length, other content: {"source":"tiny" -> {"source":"",   .
    bad.bytes(start, b"{\"source\":\"\",    ").seal();
    refused!(bad, FormatError::Provenance(ProvenanceError::NoSource));
    bad.bytes(start, b"!").seal();
    refused!(
        bad,
        FormatError::Json {
            section: Section::Provenance,
            ..
        }
    );
}
