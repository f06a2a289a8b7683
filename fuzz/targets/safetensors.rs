//! Bytes as the `model.safetensors` of a small checkpoint: it is opened and converted, and the file computed with.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rq::Model;
use rq_fuzz::checkpoint::Directory;
use rq_fuzz::exercise;
use std::sync::LazyLock;

static DIRECTORY: LazyLock<Directory> = LazyLock::new(Directory::new);

fuzz_target!(|bytes: &[u8]| {
    DIRECTORY.write("model.safetensors", bytes);
    if let Ok(file) = DIRECTORY.convert() {
        let model = Model::from_bytes(file).expect("what the converter wrote");
        model.file().verify().expect("what the converter wrote");
        exercise::text(&mut exercise::session(model), "ab<mask>c", None);
    }
});
