//! Bytes as a model file.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rq::Model;
use rq_format::ModelFile;
use rq_fuzz::exercise;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(file) = ModelFile::from_bytes(bytes.to_vec()) {
        exercise::file(&file);
    }
    if let Ok(model) = Model::from_bytes(bytes.to_vec()) {
        exercise::text(&mut exercise::session(model), "a<mask>c", None);
    }
});
