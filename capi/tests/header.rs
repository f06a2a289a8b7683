//! The C header is the one that the C interface makes.

use cbindgen::{Builder, Config};
use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::from_file(root.join("cbindgen.toml")).unwrap();
    // The modules below it are found from it.
    let builder = Builder::new()
        .with_config(config)
        .with_src(root.join("src/lib.rs"));
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = without_safety(&String::from_utf8(made).unwrap());
    let path = root.join("include/rq.h");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == committed,
        "capi/include/rq.h isn't what capi/src makes: UPDATE_HEADER=1 cargo test --release -p rq-capi header"
    );
}

/// Leaves out what Rust's documentation calls safety: for C it is said once, at the top.
fn without_safety(header: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut safety = false;
    for line in header.trim_start().lines() {
        if line.trim() == "* # Safety" {
            safety = true;
            // The empty line before it.
            kept.pop();
        }
        safety &= line.trim() != "*/";
        if !safety {
            kept.push(line);
        }
    }
    kept.join("\n") + "\n"
}
