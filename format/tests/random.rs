//! No bytes make the reader panic.

use crate::common::*;
use proptest::prelude::*;
use rq_format::ModelFile;

/// Everything that a reader can ask of a file.
fn read(bytes: Vec<u8>) {
    let Ok(model) = ModelFile::from_bytes(bytes) else {
        return;
    };
    let _ = model.tokenizer();
    let _ = model.verify();
    for tensor in model.tensors() {
        let _ = model.lanes(&tensor.name, tensor.rows, tensor.columns);
        if let Ok(packed) = model.packed(&tensor.name) {
            let mut row = vec![0.0; packed.columns()];
            packed.dequantize_row(packed.rows() - 1, &mut row);
        }
    }
}

/// Numbers that are likely to break something.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..40_000u64,
        (0..600u64).prop_map(|n| n * 64),
        (0..64u32).prop_map(|bit| 1 << bit),
        (0..200u64).prop_map(|n| u64::MAX - n),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        read(bytes);
    }

    #[test]
    fn random_bytes_behind_a_header(
        count in prop_oneof![Just(5u32), any::<u32>()],
        table in prop::collection::vec(number(), 20),
        bytes in prop::collection::vec(any::<u8>(), 224..2000),
        kinds: bool,
    ) {
        let mut edit = Edit(bytes);
        let len = edit.0.len() as u64;
        edit.bytes(0, b"\x89RQM\r\n\x1a\n").u32(8, 2).u32(12, count).u64(16, len).u64(24, 64);
        edit.bytes(32, &[0; 24]);
        for (i, value) in table.into_iter().enumerate() {
            edit.u64(TABLE + 8 * i, value);
        }
        if kinds {
            for kind in 1..=5 {
                let record = edit.section(kind);
                edit.u64(record, kind as u64);
            }
        }
        edit.seal();
        read(edit.0);
    }

    #[test]
    fn a_file_with_changed_numbers(
        changes in prop::collection::vec((0..400usize, number()), 1..4),
        sealed: bool,
    ) {
        let mut edit = Edit(good());
        let directory = edit.start(4);
        for (field, value) in changes {
            // The header and table, or the fields of a tensor's record.
            let at = match field {
                0..28 => 8 * field,
                _ => directory + (field - 28) / 7 % 22 * TENSOR_RECORD + 72 + 8 * (field % 7),
            };
            edit.u64(at, value);
        }
        if sealed {
            edit.seal();
        }
        read(edit.0);
    }

    #[test]
    fn a_file_with_changed_bytes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
        whole: bool,
    ) {
        let mut edit = Edit(good());
        for (at, value) in changes {
            let at = at.index(edit.0.len());
            edit.0[at] = value;
        }
        if whole {
            edit.seal();
        } else {
            let len = cut.index(edit.0.len());
            edit.0.truncate(len);
        }
        read(edit.0);
    }
}
