//! The tests of the library, in one program: to link one takes seconds, and models are converted once.
//! One isn't here: `memory.rs` counts every allocation of its process.

mod common;

/// The root of the workspace.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

mod answer;
mod architectures;
mod bits;
mod classify;
mod conformance;
mod damage;
mod embed;
mod fill;
mod hostile;
mod inputs;
mod joint;
mod minilm;
mod not_finite;
mod parity;
mod rxnfp;
mod score;
mod sparse;
mod tag;
mod tokenizer;
mod words;

/// Cargo doesn't look for tests where the programs are named: a file that isn't a part of one would never run.
#[test]
fn every_file_is_part_of_a_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = [
        ("tests", include_str!("all.rs")),
        ("cli/tests", include_str!("../cli/tests/all.rs")),
        ("capi/tests", include_str!("../capi/tests/all.rs")),
        ("convert/tests", include_str!("../convert/tests/all.rs")),
        ("format/tests", include_str!("../format/tests/all.rs")),
    ];
    for (folder, all) in tests {
        for file in std::fs::read_dir(root.join(folder)).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            let Some(name) = file.strip_suffix(".rs") else {
                continue;
            };
            let alone = name == "all" || (folder == "tests" && name == "memory");
            let module = format!("\nmod {name};\n");
            assert!(alone || all.contains(&module), "{folder}/{file}");
        }
    }
}
