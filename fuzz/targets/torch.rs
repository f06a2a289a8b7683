//! Bytes as the `pytorch_model.bin` of a small checkpoint: the zip, or the pickle in it, or an entry, with checksums that hold.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rq_fuzz::checkpoint::{Directory, torch_with};
use std::sync::LazyLock;

static DIRECTORY: LazyLock<Directory> = LazyLock::new(Directory::new);

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let file = match kind % 4 {
        0 => bytes.to_vec(),
        1 => torch_with(usize::from(kind / 4), bytes, false),
        kind => torch_with(0, bytes, kind == 3),
    };
    DIRECTORY.write("pytorch_model.bin", &file);
    let _ = DIRECTORY.convert();
});
