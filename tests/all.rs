//! The tests of the library and of the command, in one program: to link one takes seconds, and models are converted once.
//! Two aren't here: `memory.rs` counts every allocation of its process, and `capi.rs` needs the C interface.

mod common;

mod answer;
mod architectures;
mod bits;
mod classify;
mod cli;
mod damage;
mod embed;
mod embed_cli;
mod fill;
mod header;
mod hostile;
mod hub;
mod joint;
mod labels_cli;
mod minilm;
mod parity;
mod score;
mod stream;
mod tag;
mod tokenizer;

/// Cargo doesn't look for tests where the programs are named: a file that isn't a part of one would never run.
#[test]
fn every_file_is_part_of_a_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = [
        ("tests", include_str!("all.rs")),
        ("convert/tests", include_str!("../convert/tests/all.rs")),
        ("format/tests", include_str!("../format/tests/all.rs")),
    ];
    for (folder, all) in tests {
        for file in std::fs::read_dir(root.join(folder)).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            let Some(name) = file.strip_suffix(".rs") else {
                continue;
            };
            let alone = name == "all" || (folder == "tests" && ["capi", "memory"].contains(&name));
            let module = format!("\nmod {name};\n");
            assert!(alone || all.contains(&module), "{folder}/{file}");
        }
    }
}
