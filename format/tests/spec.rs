//! FORMAT.md says what the code does.
//!
//! Parts of the page follow from the code: they stand between `<!-- begin NAME -->` and `<!-- end NAME -->`. When the
//! code has changed on purpose, `UPDATE_FORMAT_MD=1 cargo test -p rq-format --test all spec` rewrites those that can be
//! derived: the codebook, the header, and the values of the examples.

use crate::common::*;
use rq_format::{
    Config, ConfigFields, Head, MAX_CONFIG_LEN, MAX_DIMENSION, MAX_HIDDEN_SIZE,
    MAX_INTERMEDIATE_SIZE, MAX_LABEL_LEN, MAX_LABELS, MAX_LAYERS, MAX_NAME_LEN, MAX_POSITIONS,
    MAX_PROVENANCE_LEN, MAX_TENSORS, MAX_TOKEN_TYPES, MAX_TOKENIZER_LEN, MAX_VOCAB_SIZE,
    ScoreFunction, TensorFormat, TensorKind,
};
use rq_kernels::packed::{self, BlockFormat, PackedMatrix};
use rq_kernels::q4::LEVELS;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};
use xxhash_rust::xxh3::xxh3_64;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md")).unwrap()
}

/// The part of the page of that name.
fn part<'a>(page: &'a str, name: &str) -> &'a str {
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->"),
    );
    let start = page.find(&begin).expect(&begin) + begin.len();
    let len = page[start..].find(&end).expect(&end);
    &page[start..start + len]
}

/// The cells of a part's table, without its head.
fn table<'a>(page: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let rows = part(page, name).lines().skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The bytes of an example: those listed, and before `codes_end` and after it what the others are.
fn example(page: &str, name: &str, len: usize, codes_end: usize, code: u8) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes[..codes_end].fill(code);
    for row in table(page, &format!("bytes {name}")) {
        let at: usize = row[0].parse().unwrap();
        for (i, byte) in row[1].split(' ').enumerate() {
            bytes[at + i] = u8::from_str_radix(byte, 16).unwrap();
        }
    }
    bytes
}

/// A text block of rows of numbers, at most eight a line.
fn values(rows: &[Vec<f32>]) -> String {
    let mut text = String::from("\n```text\n");
    for (r, row) in rows.iter().enumerate() {
        for (i, line) in row.chunks(8).enumerate() {
            let head = match i {
                0 => format!("row {r}:"),
                _ => String::new(),
            };
            let numbers: Vec<String> = line.iter().map(f32::to_string).collect();
            writeln!(text, "{head:<6} {}", numbers.join(" ")).unwrap();
        }
    }
    text + "```\n"
}

/// The rows of a packed example.
fn unpack(format: BlockFormat, bytes: &[u8], columns: usize) -> Vec<Vec<f32>> {
    // Aligned as a file's tensors are.
    let mut lanes = vec![rq_kernels::lanes::Lanes::ZERO; bytes.len().div_ceil(64)];
    bytemuck::cast_slice_mut(&mut lanes)[..bytes.len()].copy_from_slice(bytes);
    let bytes = &bytemuck::cast_slice(&lanes)[..bytes.len()];
    let matrix = PackedMatrix::new(format, 2, columns, bytes).unwrap();
    let row = |r| {
        let mut row = vec![0.0; columns];
        matrix.dequantize_row(r, &mut row);
        row
    };
    vec![row(0), row(1)]
}

#[test]
fn derived_parts_are_up_to_date() {
    let mut page = page();
    let f32_rows = example(&page, "f32", 128, 0, 0)
        .chunks(64)
        .map(|row| {
            let values = row.as_chunks::<4>().0.iter();
            values.map(|x| f32::from_le_bytes(*x)).take(3).collect()
        })
        .collect::<Vec<_>>();
    let q8_bytes = example(&page, "q8", 544, 512, 0x80);
    let q8_rows = unpack(BlockFormat::Q8, &q8_bytes, 6);
    let q4_rows = unpack(BlockFormat::Q4, &example(&page, "q4", 288, 0, 0), 32);
    let levels: Vec<String> = LEVELS.iter().map(i8::to_string).collect();
    let header: String = good()[..224]
        .chunks(16)
        .enumerate()
        .map(|(i, bytes)| {
            let bytes: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
            format!("{:02x}  {}\n", 16 * i, bytes.join(" "))
        })
        .collect();
    let expected = [
        ("header", format!("```text\n{header}```\n")),
        ("values f32", values(&f32_rows)),
        ("values q8", values(&q8_rows)),
        ("values q4", values(&q4_rows)),
        ("levels", format!("```text\n{}\n```\n", levels.join(" "))),
    ];
    if env::var_os("UPDATE_FORMAT_MD").is_some() {
        for (name, text) in &expected {
            let old = format!("<!-- begin {name} -->\n{}", part(&page, name));
            page = page.replacen(&old, &format!("<!-- begin {name} -->\n{text}"), 1);
        }
        fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("FORMAT.md"),
            &page,
        )
        .unwrap();
    }
    for (name, text) in expected {
        assert_eq!(part(&page, name), text, "FORMAT.md, {name}");
    }
}

#[test]
fn the_codebook_is_in_the_page_once() {
    let levels: Vec<String> = LEVELS.iter().map(i8::to_string).collect();
    assert_eq!(page().matches(&levels.join(" ")).count(), 1);
}

#[test]
fn the_q8_example_is_what_the_packer_makes() {
    let bytes = example(&page(), "q8", 544, 512, 0x80);
    let rows = unpack(BlockFormat::Q8, &bytes, 6).concat();
    assert_eq!(packed::quantize(BlockFormat::Q8, &rows, 6).unwrap(), bytes);
}

#[test]
fn lengths_are_the_formulas() {
    for (rows, columns) in [(1, 1), (2, 6), (16, 32), (17, 33), (100, 1000)] {
        let blocks = usize::div_ceil(rows, 16) * usize::div_ceil(columns, 32);
        for (format, expected) in [
            (TensorFormat::F32, rows * columns.div_ceil(16) * 64),
            (TensorFormat::Q8, blocks * (512 + 32)),
            (TensorFormat::Q4, blocks * (256 + 32)),
        ] {
            assert_eq!(format.byte_len(rows, columns), Some(expected));
        }
    }
}

#[test]
fn checksums() {
    let page = page();
    for bytes in [&b""[..], b"rq"] {
        let line = format!("| `{:016x}` |", xxh3_64(bytes));
        assert!(page.contains(&line), "FORMAT.md lacks {line}");
    }
}

#[test]
fn limits() {
    let page = page();
    let rows = table(&page, "limits");
    let limits = rows
        .iter()
        .map(|row| row[1].replace(',', "").parse().unwrap());
    let expected = [
        MAX_CONFIG_LEN,
        MAX_PROVENANCE_LEN,
        MAX_TOKENIZER_LEN,
        MAX_TENSORS as u64,
        MAX_NAME_LEN as u64,
        MAX_DIMENSION,
        MAX_VOCAB_SIZE as u64,
        MAX_HIDDEN_SIZE as u64,
        MAX_LAYERS as u64,
        MAX_INTERMEDIATE_SIZE as u64,
        MAX_POSITIONS as u64,
        MAX_TOKEN_TYPES as u64,
        MAX_LABELS as u64,
        MAX_LABEL_LEN as u64,
    ];
    assert_eq!(limits.collect::<Vec<u64>>(), expected);
}

#[test]
fn the_table_of_tensors_is_what_a_configuration_expects() {
    let page = page();
    for tie_word_embeddings in [true, false] {
        let config = Config::new(ConfigFields {
            hidden_size: 60,
            num_attention_heads: 3,
            num_hidden_layers: 2,
            type_vocab_size: 5,
            tie_word_embeddings,
            ..fields()
        })
        .unwrap();
        let product = |cell: &str| -> usize {
            let factor = |symbol| match symbol {
                "V" => config.vocab_size,
                "H" => config.hidden_size,
                "I" => config.intermediate_size,
                "P" => config.max_position_embeddings,
                "T" => config.type_vocab_size,
                "A" => config.num_attention_heads,
                "D" => config.padded_head_size(),
                number => number.parse().unwrap(),
            };
            cell.split(' ').map(factor).product()
        };
        let row = |cells: &[&str], layer: usize| {
            let name = cells[0].split('`').nth(1).unwrap();
            (
                name.replace(".N.", &format!(".{layer}.")),
                product(cells[1]),
                product(cells[2]),
                cells[3] == "f32",
            )
        };
        let rows = table(&page, "tensors");
        let in_layer = |cells: &&Vec<&str>| cells[0].contains(".N.");
        let first = rows.iter().position(|cells| in_layer(&cells)).unwrap();
        let last = rows.iter().rposition(|cells| in_layer(&cells)).unwrap();
        let mut expected = Vec::new();
        expected.extend(rows[..first].iter().map(|cells| row(cells, 0)));
        for layer in 0..2 {
            let layers = rows[first..=last].iter();
            expected.extend(layers.map(|cells| row(cells, layer)));
        }
        let rest = rows[last + 1..].iter();
        let applies = |cells: &&Vec<&str>| !(tie_word_embeddings && cells[0].contains("only"));
        expected.extend(rest.filter(applies).map(|cells| row(cells, 0)));

        let tensors = config.expected_tensors().into_iter();
        let found: Vec<_> = tensors
            .map(|t| (t.name, t.rows, t.columns, t.kind == TensorKind::Float))
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn the_table_of_heads_is_what_a_configuration_expects() {
    let page = page();
    for head in [
        Head::None,
        Head::SequenceClassification,
        Head::TokenClassification,
        Head::QuestionAnswering,
    ] {
        let mut fields = ConfigFields { head, ..fields() };
        if head.has_labels() {
            fields.labels = ["a", "b", "c"].map(str::to_owned).to_vec();
        }
        if head == Head::SequenceClassification {
            fields.score_function = Some(ScoreFunction::Softmax);
        }
        let config = Config::new(fields).unwrap();
        let number = |cell: &str| match cell {
            "H" => config.hidden_size,
            "L" => config.outputs(),
            number => number.parse().unwrap(),
        };
        let name = head.to_string();
        let expected: Vec<_> = table(&page, "heads")
            .into_iter()
            .filter(|cells| {
                cells[4]
                    .split(", ")
                    .any(|cell| cell.trim_matches('`') == name)
            })
            .map(|cells| {
                let tensor = cells[0].trim_matches('`').to_owned();
                (
                    tensor,
                    number(cells[1]),
                    number(cells[2]),
                    cells[3] == "f32",
                )
            })
            .collect();
        let tensors = config.expected_tensors().into_iter();
        let found: Vec<_> = tensors
            .filter(|t| !t.name.starts_with("embeddings.") && !t.name.starts_with("layers."))
            .map(|t| (t.name, t.rows, t.columns, t.kind == TensorKind::Float))
            .collect();
        assert_eq!(found, expected, "{head}");
    }
}
