//! FORMAT.md says what the code does.
//!
//! Parts of the page follow from the code: they stand between `<!-- begin NAME -->` and `<!-- end NAME -->`. When the
//! code has changed on purpose, `UPDATE_FORMAT_MD=1 cargo test -p rq-format --test all spec` rewrites those that can be
//! derived: the header, and the values of the examples.

use crate::common::*;
use rq_format::{
    Architecture, ClassifierAct, Config, ConfigFields, Head, MAX_CONFIG_LEN, MAX_DIMENSION,
    MAX_EMBEDDING_LAYERS, MAX_HIDDEN_SIZE, MAX_INTERMEDIATE_SIZE, MAX_LABEL_LEN, MAX_LABELS,
    MAX_LAYERS, MAX_NAME_LEN, MAX_POOLING_MODES, MAX_POSITIONS, MAX_PROMPT_LEN, MAX_PROMPTS,
    MAX_PROVENANCE_LEN, MAX_TENSORS, MAX_TOKEN_TYPES, MAX_TOKENIZER_LEN, MAX_VOCAB_SIZE,
    ScoreFunction, TensorFormat, TensorKind,
};
use rq_kernels::hadamard::transform;
use rq_kernels::packed::{self, BlockFormat, PackedMatrix};
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
    list_bytes(page, name, &mut bytes);
    bytes
}

/// Puts the bytes that an example lists where they belong.
fn list_bytes(page: &str, name: &str, bytes: &mut [u8]) {
    for row in table(page, &format!("bytes {name}")) {
        let at: usize = row[0].parse().unwrap();
        for (i, byte) in row[1].split(' ').enumerate() {
            bytes[at + i] = u8::from_str_radix(byte, 16).unwrap();
        }
    }
}

/// A text block of rows of numbers, at most eight a line.
fn floats(rows: &[Vec<f32>]) -> String {
    let line = |(r, row): (usize, &Vec<f32>)| format!("row {r}: {}\n", numbers(row));
    let lines: String = rows.iter().enumerate().map(line).collect();
    format!("\n```text\n{lines}```\n")
}

fn numbers(values: &[f32]) -> String {
    let numbers: Vec<String> = values.iter().map(f32::to_string).collect();
    numbers.join(" ")
}

/// A text block of two rows of 128 numbers: eight a line, with the columns over which they repeat.
fn blocks(rows: &[Block; 2]) -> String {
    let mut text = String::from("\n```text\n");
    for (r, row) in rows.iter().enumerate() {
        let mut at = 0;
        for lines in row.as_chunks::<8>().0.chunk_by(|a, b| a == b) {
            let (start, end) = (at, at + 8 * lines.len());
            at = end;
            let head = if start == 0 {
                format!("row {r}")
            } else {
                String::new()
            };
            let columns = format!("{start}..{end}");
            // A zero without its sign, which it has from a negative scale.
            let numbers = numbers(&lines[0].map(|x| x + 0.0));
            writeln!(text, "{head:<5}  {columns:<8}  {numbers}").unwrap();
        }
    }
    text + "```\n"
}

/// The columns of a block.
type Block = [f32; 128];

/// Two rows of one block, read as the page says: as they are stored, and the weights.
fn read_blocks(format: BlockFormat, bytes: &[u8]) -> [[Block; 2]; 2] {
    let codes = match format {
        BlockFormat::Q8 => 2048,
        BlockFormat::Q4 => 1088,
    };
    let nibble = |at: usize, high: bool| i32::from(bytes[at] >> if high { 4 } else { 0 } & 15);
    let stored = [0, 1].map(|r| {
        let scale = half([bytes[codes + 2 * r], bytes[codes + 2 * r + 1]]);
        std::array::from_fn(|k| {
            let level = match format {
                BlockFormat::Q8 => i32::from(bytes[64 * (k / 4) + 4 * r + k % 4]) - 128,
                BlockFormat::Q4 => {
                    let code = nibble(64 * (k / 8) + 4 * r + k % 4, k % 8 >= 4) - 8;
                    code * nibble(1024 + 16 * (k / 32) + r, k % 32 >= 16)
                }
            };
            scale * level as f32
        })
    });
    let weights = stored.map(|block| signs(&by_entries(&block)).map(|x| x / 128.0));
    [stored, weights]
}

/// A normal f16.
fn half(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let (sign, rest) = (bits >> 15, bits & 0x7fff);
    f32::from_bits(sign << 31 | (rest + ((127 - 15) << 10)) << 13)
}

/// The transform by its definition. Exact, and so the same in any order, for small integers.
fn by_entries(x: &Block) -> Block {
    let sign = |bits: usize| 1.0 - 2.0 * (bits.count_ones() % 2) as f32;
    std::array::from_fn(|i| (0..128).map(|j| sign(i & j) * x[j]).sum())
}

/// D by its definition.
fn signs(x: &Block) -> Block {
    let sign = |bits: usize| 1.0 - 2.0 * (bits.count_ones() % 2) as f32;
    std::array::from_fn(|k| sign(k & (k >> 1) & 0x15) * x[k])
}

/// What the kernels read of the same bytes.
fn unpack(format: BlockFormat, bytes: &[u8]) -> [[Block; 2]; 2] {
    // Aligned as a file's tensors are.
    let mut lanes = vec![rq_kernels::lanes::Lanes::ZERO; bytes.len().div_ceil(64)];
    bytemuck::cast_slice_mut(&mut lanes)[..bytes.len()].copy_from_slice(bytes);
    let bytes = &bytemuck::cast_slice(&lanes)[..bytes.len()];
    let matrix = PackedMatrix::new(format, 2, 128, bytes).unwrap();
    let weights = |r| {
        let mut row = [0.0; 128];
        matrix.dequantize_row(r, &mut row);
        row
    };
    [[0, 1].map(|r| matrix.rotated(r, 0)), [0, 1].map(weights)]
}

fn q8_example(page: &str) -> Vec<u8> {
    example(page, "q8", 2080, 2048, 0x80)
}

fn q4_example(page: &str) -> Vec<u8> {
    let mut default = [vec![0x88; 1024], vec![0x11; 64], vec![0; 32]].concat();
    list_bytes(page, "q4", &mut default);
    default
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
    let [q8_stored, q8_weights] = unpack(BlockFormat::Q8, &q8_example(&page));
    let [q4_stored, q4_weights] = unpack(BlockFormat::Q4, &q4_example(&page));
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
        ("values f32", floats(&f32_rows)),
        ("stored q8", blocks(&q8_stored)),
        ("weights q8", blocks(&q8_weights)),
        ("stored q4", blocks(&q4_stored)),
        ("weights q4", blocks(&q4_weights)),
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
fn the_examples_of_blocks_are_read_as_the_page_says() {
    let page = page();
    for (format, bytes) in [
        (BlockFormat::Q8, q8_example(&page)),
        (BlockFormat::Q4, q4_example(&page)),
    ] {
        assert_eq!(
            unpack(format, &bytes),
            read_blocks(format, &bytes),
            "{format}"
        );
    }
}

#[test]
fn the_q8_example_is_what_the_packer_makes() {
    let bytes = q8_example(&page());
    let [_, weights] = unpack(BlockFormat::Q8, &bytes);
    let packed = packed::quantize(BlockFormat::Q8, &weights.concat(), 128);
    assert_eq!(packed.unwrap(), bytes);
}

#[test]
fn the_example_of_a_transform_is_what_the_kernels_compute() {
    let page = page();
    let lines: Vec<Vec<f32>> = part(&page, "steps")
        .lines()
        .filter(|line| line.starts_with("    "))
        .map(|line| {
            let numbers = line.split_whitespace().rev().take(4);
            let mut numbers: Vec<f32> = numbers.map(|n| n.parse().unwrap()).collect();
            numbers.reverse();
            numbers
        })
        .collect();
    let [x, half, all] = lines.try_into().unwrap();
    let mut values = x.clone();
    transform(&mut values);
    assert_eq!(values, all);
    let pairs = [x[0] + x[2], x[1] + x[3], x[0] - x[2], x[1] - x[3]];
    assert_eq!(half, pairs);
}

#[test]
fn the_table_of_transforms_is_what_the_kernels_compute() {
    /// "VALUE at COLUMN" or "VALUE at FIRST..END", with commas between; the others are 0.
    fn block(cell: &str) -> Block {
        if cell == "0, 1, 2, ... 127" {
            return std::array::from_fn(|k| k as f32);
        }
        let mut block = [0.0; 128];
        for run in cell.split(", ") {
            let (value, columns) = run.split_once(" at ").unwrap();
            let columns = match columns.split_once("..") {
                Some((start, end)) => start.parse().unwrap()..end.parse().unwrap(),
                None => columns.parse().unwrap()..columns.parse::<usize>().unwrap() + 1,
            };
            block[columns].fill(value.parse().unwrap());
        }
        block
    }
    let page = page();
    let rows = table(&page, "transforms");
    assert!(rows.len() > 3);
    for row in rows {
        let (x, expected) = (block(row[0]), block(row[1]));
        let mut values = x;
        transform(&mut values);
        assert_eq!(values, expected, "{}", row[0]);
        assert_eq!(by_entries(&x), expected, "{}", row[0]);
    }
}

#[test]
fn lengths_are_the_formulas() {
    for (rows, columns) in [(1, 1), (2, 6), (16, 128), (17, 129), (100, 1000)] {
        let blocks = usize::div_ceil(rows, 16) * usize::div_ceil(columns, 128);
        for (format, expected) in [
            (TensorFormat::F32, rows * columns.div_ceil(16) * 64),
            (TensorFormat::Q8, blocks * (2048 + 32)),
            (TensorFormat::Q4, blocks * (1088 + 32)),
        ] {
            assert_eq!(format.byte_len(rows, columns), Some(expected));
        }
    }
}

#[test]
fn checksums() {
    let page = page();
    // One length for each way in which XXH3 takes short and long texts.
    let counted = [3, 8, 16, 128, 240, 1025].map(|n| (0..n).map(|i: usize| i as u8).collect());
    let short = [&b""[..], b"rq"].map(<[u8]>::to_vec);
    for bytes in short.into_iter().chain(counted) {
        let line = format!("| `{:016x}` |", xxh3_64(&bytes));
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
        MAX_POOLING_MODES as u64,
        MAX_EMBEDDING_LAYERS as u64,
        MAX_PROMPTS as u64,
        MAX_PROMPT_LEN as u64,
    ];
    assert_eq!(limits.collect::<Vec<u64>>(), expected);
}

#[test]
fn the_table_of_tensors_is_what_a_configuration_expects() {
    let page = page();
    let untyped = |architecture, position_offset| ConfigFields {
        architecture,
        position_offset,
        type_vocab_size: 0,
        ..fields()
    };
    for fields in [
        fields(),
        ConfigFields {
            type_vocab_size: 5,
            tie_word_embeddings: false,
            ..fields()
        },
        ConfigFields {
            architecture: Architecture::Electra,
            position_offset: 0,
            embedding_size: Some(24),
            tie_word_embeddings: false,
            ..fields()
        },
        untyped(Architecture::DistilBert, 0),
        untyped(Architecture::MpNet, 2),
    ] {
        let config = Config::new(ConfigFields {
            hidden_size: 60,
            num_attention_heads: 3,
            num_hidden_layers: 2,
            ..fields
        })
        .unwrap();
        let product = |cell: &str| -> usize {
            let factor = |symbol| match symbol {
                "V" => config.vocab_size,
                "E" => config.embedding_width(),
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
        let applies = |cells: &&Vec<&str>| match cells[0].split_once('(') {
            None => true,
            Some((_, "only where `tie_word_embeddings` is false)")) => !config.tie_word_embeddings,
            Some((_, "not where `type_vocab_size` is 0)")) => config.type_vocab_size > 0,
            Some((_, "only with `embedding_size`)")) => config.embedding_size.is_some(),
            Some((_, "only for `mpnet`)")) => config.architecture == Architecture::MpNet,
            Some((_, other)) => panic!("a condition that isn't tested: {other}"),
        };
        let mut expected = Vec::new();
        let start = rows[..first].iter();
        expected.extend(start.filter(applies).map(|cells| row(cells, 0)));
        for layer in 0..2 {
            let layers = rows[first..=last].iter();
            expected.extend(layers.map(|cells| row(cells, layer)));
        }
        let rest = rows[last + 1..].iter();
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
    for (head, act) in [
        (Head::None, None),
        (Head::SequenceClassification, Some(ClassifierAct::Tanh)),
        (Head::TokenClassification, Some(ClassifierAct::Gelu)),
        (Head::TokenClassification, None),
        (Head::QuestionAnswering, None),
    ] {
        let mut fields = ConfigFields {
            head,
            classifier_act: act,
            ..fields()
        };
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
            .filter(|cells| act.is_some() || !cells[0].contains(".dense."))
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
