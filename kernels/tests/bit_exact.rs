//! Every instruction set against the scalar oracle, bit for bit.

mod common;

use common::{Random, bits, tiers};
use rq_kernels::activation::{ActivationBlock, Activations, PackedRows};
use rq_kernels::hadamard;
use rq_kernels::isa::Isa;
use rq_kernels::kernels::{Kernels, Tile, kernels};
use rq_kernels::lanes::{LANES, Lanes, panels_for};
use rq_kernels::packed::{self, BlockFormat, GROUP, GROUP_BYTES, PackedMatrix};
use rq_kernels::{BLOCK, Gelu, Panels, PanelsMut, VECTORS};
use std::collections::BTreeSet;

fn scalar() -> Kernels {
    kernels(Isa::Scalar).unwrap()
}

/// Packed bytes at an address that `PackedMatrix` takes.
struct Bytes(Vec<u64>, usize);

impl Bytes {
    fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<_, u8>(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self(words, bytes.len())
    }

    fn get(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.0)[..self.1]
    }
}

const CANARY: f32 = -12345.678;

/// All panels of the product, panel-major, `at_once` of them a call, with canaries around each output.
fn product(
    kernels: Kernels,
    weights: &PackedMatrix<'_>,
    bias: &[Lanes],
    acts: &Activations<'_>,
    at_once: usize,
) -> Vec<Lanes> {
    let mut all = Vec::new();
    for first in (0..weights.panels()).step_by(at_once) {
        let panels = first..(first + at_once).min(weights.panels());
        let len = panels.len() * acts.tokens();
        let mut out = vec![Lanes([CANARY; LANES]); len + 2];
        kernels.linear(weights, panels, bias, acts, &mut out[1..=len]);
        for edge in [0, len + 1] {
            assert_eq!(out[edge], Lanes([CANARY; LANES]), "wrote outside the tile");
        }
        all.extend_from_slice(&out[1..=len]);
    }
    all
}

fn check_product(
    name: &str,
    format: BlockFormat,
    weights: &[f32],
    columns: usize,
    x: &[f32],
    failures: &mut Vec<String>,
) {
    let rows = weights.len() / columns;
    let tokens = x.len() / columns;
    let bytes = Bytes::new(&packed::quantize(format, weights, columns).unwrap());
    let matrix = PackedMatrix::new(format, rows, columns, bytes.get()).unwrap();
    let bias = Random(7).lanes(panels_for(rows), 1.0);

    // The activations, in both orders.
    let blocks = columns.div_ceil(BLOCK);
    let mut row_major = vec![ActivationBlock::default(); tokens * blocks];
    for (row, out) in x.chunks(columns).zip(row_major.chunks_mut(blocks)) {
        scalar().quantize_row(&rq_kernels::lanes::to_lanes(row), out);
    }
    let mut block_major = row_major.clone();
    for token in 0..tokens {
        for block in 0..blocks {
            block_major[block * tokens + token] = row_major[token * blocks + block];
        }
    }
    let expected = product(
        scalar(),
        &matrix,
        &bias,
        &Activations::row_major(&row_major, blocks),
        1,
    );

    // The oracle itself, against dequantized weights and activations in f64.
    for r in 0..rows {
        let row: Vec<f32> = (0..blocks).flat_map(|b| matrix.rotated(r, b)).collect();
        for token in 0..tokens {
            let mut sum = f64::from(bias[r / LANES].0[r % LANES]);
            let mut size = sum.abs();
            for (k, w) in row.iter().enumerate() {
                let act = &row_major[token * blocks + k / BLOCK];
                let term = f64::from(*w) * f64::from(act.codes[k % BLOCK]) * f64::from(act.scale);
                sum += term;
                size += term.abs();
            }
            let got = f64::from(expected[r / LANES * tokens + token].0[r % LANES]);
            assert!(
                (got - sum).abs() <= 1e-6 * size + 1e-9,
                "{name} {format}: row {r} token {token}: {got} {sum}"
            );
        }
    }

    for tier in tiers() {
        for acts in [
            Activations::row_major(&row_major, blocks),
            Activations::block_major(&block_major, tokens),
        ] {
            for at_once in 1..=3 {
                let got = product(tier, &matrix, &bias, &acts, at_once);
                if bits(&got) != bits(&expected) {
                    failures.push(format!(
                        "{} {format} {name}: {rows}x{columns}, {tokens} tokens, {at_once} panels a call",
                        tier.isa()
                    ));
                }
            }
        }
    }
}

/// Rows, columns and tokens around every edge of a tier's tile.
fn shapes(tile: Tile) -> Vec<(usize, usize, usize)> {
    let mut shapes = Vec::new();
    // Every number of tokens in one tile and two, then many tiles; of panels one tile and a rest.
    let many = [8 * tile.tokens, 16 * tile.tokens].map(|n| n - 1..=n + 3);
    for tokens in (1..=2 * tile.tokens + 1).chain(many.into_iter().flatten()) {
        shapes.push(((tile.panels + 1) * LANES, 2 * BLOCK, tokens));
    }
    // Blocks around one run and two.
    for runs in 1..=2 {
        for blocks in runs * tile.depth - 1..=runs * tile.depth + 1 {
            for tokens in [1, 2, tile.tokens, tile.tokens + 1] {
                shapes.push((tile.panels * LANES, blocks * BLOCK, tokens));
            }
        }
    }
    // Rows around the edges of panels, columns around those of groups and blocks.
    for panels in 1..=tile.panels + 1 {
        for rows in [panels * LANES - 1, panels * LANES, panels * LANES + 1, 1] {
            for columns in [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + GROUP] {
                shapes.push((rows, columns, tile.tokens + 1));
            }
        }
    }
    shapes
}

#[test]
fn linear_at_all_edges() {
    let mut random = Random(1);
    let mut failures = Vec::new();
    for format in BlockFormat::ALL {
        let tiles = tiers().into_iter().map(|tier| tier.tile(format));
        let shapes: BTreeSet<_> = tiles.flat_map(shapes).collect();
        for (rows, columns, tokens) in shapes {
            let (w, x) = (
                random.floats(rows * columns, 0.1),
                random.floats(tokens * columns, 3.0),
            );
            check_product("edges", format, &w, columns, &x, &mut failures);
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The sums that `vpmaddubsw` saturates when it is used carelessly: all codes at their extremes, all signs.
#[test]
fn linear_of_extremes() {
    let mut failures = Vec::new();
    for format in BlockFormat::ALL {
        for (w, x) in [(1.0, 1.0), (1.0, -1.0), (-1.0, 1.0), (-1.0, -1.0)] {
            let (columns, rows, tokens) = (3 * BLOCK, LANES, most_tokens(format) + 1);
            check_product(
                "constant",
                format,
                &vec![w; rows * columns],
                columns,
                &vec![x; tokens * columns],
                &mut failures,
            );
            // Every seventh weight an extreme of the other sign.
            let mut weights = vec![w; rows * columns];
            weights.iter_mut().step_by(7).for_each(|v| *v = -w);
            check_product(
                "mixed",
                format,
                &weights,
                columns,
                &vec![x; tokens * columns],
                &mut failures,
            );
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The most tokens in a tile of this machine's tiers.
fn most_tokens(format: BlockFormat) -> usize {
    let tiles = tiers().into_iter().map(|tier| tier.tile(format).tokens);
    tiles.max().expect("the scalar tier")
}

/// Every byte that a file can hold, also codes that the quantizer never makes.
#[test]
fn linear_of_any_codes() {
    let mut random = Random(3);
    let mut failures = Vec::new();
    for format in BlockFormat::ALL {
        let (rows, columns, tokens) = (LANES, 4 * BLOCK, most_tokens(format) + 1);
        let len = format.packed_len(rows, columns).unwrap();
        let blocks = panels_for(rows) * columns / BLOCK;
        let codes = blocks * format.code_bytes();
        let mut bytes: Vec<u8> = (0..codes).map(|_| random.next() as u8).collect();
        for _ in 0..(len - codes) / 2 {
            bytes.extend_from_slice(&half::f16::from_f32(random.unit()).to_le_bytes());
        }
        let bytes = Bytes::new(&bytes);
        let matrix = PackedMatrix::new(format, rows, columns, bytes.get()).unwrap();
        let acts: Vec<ActivationBlock> = (0..tokens * columns / BLOCK)
            .map(|i| {
                let extreme = [-127, 127][i / 7 % 2];
                let codes: [i8; BLOCK] = std::array::from_fn(|_| match i % 7 {
                    0 => extreme,
                    _ => (random.next() as i8).max(-127),
                });
                ActivationBlock::new(codes, random.unit().abs())
            })
            .collect();
        let acts = Activations::row_major(&acts, columns / BLOCK);
        let expected = product(scalar(), &matrix, &[Lanes::ZERO], &acts, 1);
        for tier in tiers() {
            if bits(&product(tier, &matrix, &[Lanes::ZERO], &acts, 1)) != bits(&expected) {
                failures.push(format!("{} {format}", tier.isa()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Inputs of several sizes, with zeros of both signs, tiny and large values among them.
fn awkward(random: &mut Random, n: usize) -> Vec<Lanes> {
    let mut lanes = random.lanes(n, 4.0);
    let special = [0.0, -0.0, 1e-38, -1e-42, 100.0, -100.0, 0.5, -3.92];
    for (i, l) in lanes.iter_mut().enumerate() {
        l.0[i % LANES] = special[i % special.len()];
    }
    lanes
}

#[test]
fn gelu() {
    let x = awkward(&mut Random(11), 300);
    for kind in [Gelu::Erf, Gelu::Tanh] {
        let mut expected = x.clone();
        scalar().gelu(kind, &mut expected);
        for tier in tiers() {
            let mut got = x.clone();
            tier.gelu(kind, &mut got);
            assert_eq!(bits(&got), bits(&expected), "{} {kind:?}", tier.isa());
        }
    }
}

#[test]
fn layer_norm() {
    let mut random = Random(12);
    for width in [1, LANES - 1, LANES, LANES + 1, 100, 8 * LANES, 64 * LANES] {
        let panels = panels_for(width);
        let mut row = awkward(&mut random, panels);
        let pad = |lanes: &mut [Lanes]| rq_kernels::lanes::as_floats_mut(lanes)[width..].fill(0.0);
        let (mut gamma, mut beta) = (random.lanes(panels, 2.0), random.lanes(panels, 1.0));
        pad(&mut row);
        pad(&mut gamma);
        pad(&mut beta);
        let mut expected = row.clone();
        scalar().layer_norm(&mut expected, width, &gamma, &beta, 1e-5);

        let x: Vec<f64> = rq_kernels::lanes::as_floats(&row)[..width]
            .iter()
            .map(|&x| f64::from(x))
            .collect();
        let mean = x.iter().sum::<f64>() / width as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        for (i, x) in x.iter().enumerate() {
            let (g, b) = (gamma[i / LANES].0[i % LANES], beta[i / LANES].0[i % LANES]);
            let y = (x - mean) / (variance + 1e-5).sqrt() * f64::from(g) + f64::from(b);
            let got = f64::from(expected[i / LANES].0[i % LANES]);
            assert!(
                (got - y).abs() < 2e-5,
                "width {width} column {i}: {got} {y}"
            );
        }
        assert!(
            rq_kernels::lanes::as_floats(&expected)[width..]
                .iter()
                .all(|&x| x == 0.0)
        );

        for tier in tiers() {
            let mut got = row.clone();
            tier.layer_norm(&mut got, width, &gamma, &beta, 1e-5);
            assert_eq!(bits(&got), bits(&expected), "{} width {width}", tier.isa());
        }
    }
}

#[test]
fn softmax() {
    let mut random = Random(13);
    for columns in [1, 7, LANES, LANES + 1, 4 * LANES, 8 * LANES + 1] {
        for rows in [1, 3, 8] {
            let scores = awkward(&mut random, panels_for(columns) * rows);
            let mut expected = scores.clone();
            let mut expected_sums = vec![0.0; rows];
            scalar().softmax(&mut expected, columns, 0.125, &mut expected_sums);
            for (row, inverse) in expected_sums.iter().enumerate() {
                let at = |lanes: &[Lanes], c: usize| {
                    f64::from(lanes[c / LANES * rows + row].0[c % LANES])
                };
                let largest = (0..columns)
                    .map(|c| at(&scores, c))
                    .fold(f64::MIN, f64::max);
                let sum: f64 = (0..columns)
                    .map(|c| ((at(&scores, c) - largest) * 0.125).exp())
                    .sum();
                for c in 0..columns {
                    let p = ((at(&scores, c) - largest) * 0.125).exp() / sum;
                    let got = at(&expected, c) * f64::from(*inverse);
                    assert!(
                        (got - p).abs() < 1e-6,
                        "{rows}x{columns} row {row} column {c}: {got} {p}"
                    );
                }
                for c in columns..panels_for(columns) * LANES {
                    assert_eq!(at(&expected, c), 0.0, "padding");
                }
            }
            for tier in tiers() {
                let (mut got, mut sums) = (scores.clone(), vec![0.0; rows]);
                tier.softmax(&mut got, columns, 0.125, &mut sums);
                assert_eq!(
                    bits(&got),
                    bits(&expected),
                    "{} {rows}x{columns}",
                    tier.isa()
                );
                assert_eq!(sums, expected_sums, "{} {rows}x{columns}", tier.isa());
            }
        }
    }
}

#[test]
fn matmul_f32() {
    let mut random = Random(14);
    let tiles: Vec<Tile> = tiers().into_iter().map(Kernels::tile_f32).collect();
    let most = |count: fn(&Tile) -> usize| tiles.iter().map(count).max().expect("the scalar tier");
    for columns in [1, LANES - 1, LANES, LANES + 1, 4 * LANES, 6 * LANES + 4] {
        for rows in 1..=2 * most(|tile| tile.tokens) + 1 {
            for panels in 1..=most(|tile| tile.panels) + 1 {
                let (b_stride, stride) = (columns + 3, rows + 2);
                let a = random.lanes(panels_for(columns) * rows, 1.0);
                let b = random.lanes(panels * b_stride, 1.0);
                let b = Panels {
                    data: &b,
                    stride: b_stride,
                };
                let scale = random.floats(rows, 1.0);
                let product = |kernels: Kernels| {
                    let mut data = vec![Lanes([CANARY; LANES]); panels * stride];
                    let out = PanelsMut {
                        data: &mut data,
                        stride,
                    };
                    kernels.matmul_f32(&a, b, columns, &scale, panels, out);
                    data
                };
                let expected = product(scalar());
                for (p, out) in expected.chunks(stride).enumerate() {
                    for (i, got) in out[..rows].iter().enumerate() {
                        for lane in 0..LANES {
                            let term = |k: usize| {
                                f64::from(a[k / LANES * rows + i].0[k % LANES])
                                    * f64::from(b.data[p * b_stride + k].0[lane])
                            };
                            let exact: f64 = (0..columns).map(term).sum();
                            let exact = exact * f64::from(scale[i]);
                            assert!((f64::from(got.0[lane]) - exact).abs() < 1e-5);
                        }
                    }
                    assert_eq!(out[rows..], [Lanes([CANARY; LANES]); 2], "wrote outside");
                }
                for tier in tiers() {
                    assert_eq!(
                        bits(&product(tier)),
                        bits(&expected),
                        "{} {rows} rows, {columns} columns, {panels} panels",
                        tier.isa()
                    );
                }
            }
        }
    }
}

/// Rows packed on the fly are as good as their activations, and their products the same on every tier, for heads of any size.
#[test]
fn matmul_int8() {
    let mut random = Random(16);
    for rows in [1, LANES - 1, LANES, LANES + 1, 2 * LANES + 8] {
        for tokens in 1..=most_tokens(BlockFormat::Q8) + 1 {
            let vectors = 1 + (rows + tokens) % VECTORS;
            let blocks = if vectors == VECTORS { 2 } else { 1 };
            // The last block of a head that is larger lacks a panel.
            let panels = |block: usize| vectors - block;
            let x = awkward(&mut random, 2 * vectors * rows);
            let queries = awkward(&mut random, 2 * vectors * tokens);
            let part = |data, count: usize, block: usize| {
                let data: &[Lanes] = data;
                Panels {
                    data: &data[block * vectors * count..],
                    stride: count,
                }
            };
            let groups = vectors * LANES / GROUP;
            let run = |kernels: Kernels| {
                let mut codes = vec![[7; GROUP_BYTES]; panels_for(rows) * blocks * groups];
                let mut scales = vec![Lanes([CANARY; LANES]); panels_for(rows) * blocks];
                let mut acts = vec![ActivationBlock::ZERO; tokens * blocks];
                for (block, acts) in acts.chunks_mut(tokens).enumerate() {
                    kernels.pack_rows(
                        part(&x, rows, block),
                        (panels(block), rows),
                        vectors,
                        (block, blocks),
                        &mut codes,
                        &mut scales,
                    );
                    let queries = part(&queries, tokens, block);
                    kernels.quantize_panels(queries, panels(block), vectors, acts);
                }
                let mut out = vec![Lanes::ZERO; panels_for(rows) * tokens];
                let rows = PackedRows {
                    codes: &codes,
                    scales: &scales,
                    blocks,
                };
                let acts = Activations::block_major(&acts, tokens);
                kernels.matmul_int8(rows, &acts, &mut out);
                (codes, bits(&scales), bits(&out))
            };
            let expected = run(scalar());
            let mut width = 1;
            while vectors.is_multiple_of(2 * width) {
                width *= 2;
            }
            for block in 0..blocks {
                let mut acts = vec![ActivationBlock::ZERO; rows];
                let x = part(&x, rows, block);
                scalar().quantize_panels(x, panels(block), vectors, &mut acts);
                for (r, act) in acts.iter().enumerate() {
                    let at = r / LANES * blocks + block;
                    let scale = act.scale * (width * LANES) as f32;
                    assert_eq!(expected.1[at][r % LANES], scale.to_bits() & !3);
                    for (k, code) in act.codes[..vectors * LANES].iter().enumerate() {
                        let group = &expected.0[at * groups + k / GROUP];
                        let byte = group[r % LANES * GROUP + k % GROUP];
                        assert_eq!((byte ^ 0x80) as i8, *code, "row {r}, column {k}");
                    }
                    assert!(act.codes[vectors * LANES..].iter().all(|&code| code == 0));
                }
            }
            // The products themselves, within what rounding to int8 leaves.
            for token in 0..tokens {
                for r in 0..panels_for(rows) * LANES {
                    let at = r / LANES * tokens + token;
                    let got = f32::from_bits(expected.2[at][r % LANES]);
                    if r >= rows {
                        assert_eq!(got.to_bits(), 0, "padding");
                        continue;
                    }
                    let (mut sum, mut squares) = (0.0, [0.0, 0.0]);
                    for block in 0..blocks {
                        for p in 0..panels(block) {
                            let a = part(&x, rows, block).data[p * rows + r];
                            let b = part(&queries, tokens, block).data[p * tokens + token];
                            for (a, b) in a.0.into_iter().zip(b.0) {
                                sum += a * b;
                                squares[0] += a * a;
                                squares[1] += b * b;
                            }
                        }
                    }
                    let most = 0.03 * f32::sqrt(squares[0] * squares[1]);
                    assert!((got - sum).abs() <= most, "{got} {sum} {most}");
                }
            }
            for tier in tiers() {
                assert!(run(tier) == expected, "{} {rows} rows", tier.isa());
            }
        }
    }
}

/// The loops over groups run at least once.
#[test]
#[should_panic(expected = "groups of the blocks")]
fn blocks_without_groups_are_refused() {
    let rows = PackedRows {
        codes: &[],
        scales: &[Lanes::ZERO],
        blocks: 1,
    };
    let acts = [ActivationBlock::ZERO];
    let acts = Activations::row_major(&acts, 1);
    scalar().matmul_int8(rows, &acts, &mut [Lanes::ZERO]);
}

#[test]
fn activations() {
    let mut random = Random(15);
    for panels in [1, 2, 3, 8, 9, 16] {
        let mut row = awkward(&mut random, panels);
        row[panels / VECTORS * VECTORS..].fill(Lanes::ZERO); // the last block, unless it is a whole one
        let mut expected = vec![ActivationBlock::default(); panels.div_ceil(VECTORS)];
        scalar().quantize_row(&row, &mut expected);
        let x = rq_kernels::lanes::as_floats(&row);
        for (block, x) in expected.iter().zip(packed::rotate_row(x)) {
            let absmax = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            assert_eq!(block.scale, absmax / 127.0 / BLOCK as f32);
            for (code, x) in block.codes.iter().zip(x) {
                let step = block.scale * BLOCK as f32;
                assert!((f32::from(*code) * step - x).abs() <= 0.5001 * step);
            }
            assert_eq!(*block, ActivationBlock::new(block.codes, block.scale));
        }
        for tier in tiers() {
            let mut got = vec![ActivationBlock::new([1; BLOCK], 1.0); expected.len()];
            tier.quantize_row(&row, &mut got);
            assert_eq!(got, expected, "{} {panels} panels", tier.isa());
        }
    }
    // Some panels of several tokens.
    for tokens in [1, 5] {
        for panels in 1..=VECTORS {
            let data = &awkward(&mut random, panels * tokens);
            let values = Panels {
                data,
                stride: tokens,
            };
            let mut expected = vec![ActivationBlock::default(); tokens];
            scalar().quantize_panels(values, panels, VECTORS, &mut expected);
            for (token, block) in expected.iter().enumerate() {
                let row: Vec<Lanes> = (0..panels).map(|p| data[p * tokens + token]).collect();
                let mut alone = [ActivationBlock::default()];
                scalar().quantize_row(&row, &mut alone);
                assert_eq!(alone[0], *block);
            }
            for tier in tiers() {
                let mut got = vec![ActivationBlock::default(); tokens];
                tier.quantize_panels(values, panels, VECTORS, &mut got);
                assert_eq!(got, expected, "{}", tier.isa());
            }
        }
    }
}

/// No kernel makes a number of what is none: a task finds it at the end.
#[test]
fn what_is_not_finite_stays_so() {
    let mut random = Random(16);
    let not_finite = |lanes: &[Lanes]| lanes.iter().all(|l| l.0.iter().all(|x| !x.is_finite()));
    for tier in tiers() {
        for vectors in 1..=VECTORS {
            for at in 0..vectors * LANES {
                for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut row = random.lanes(vectors, 1.0);
                    row[at / LANES].0[at % LANES] = bad;
                    not_a_number(tier, &row, vectors);
                }
            }
            // Finite, but their sums overflow: in all places, or only in one.
            let signs = |f: fn(usize) -> f32| -> Vec<Lanes> {
                let lane = |v: usize| Lanes(std::array::from_fn(|l| f(v * LANES + l)));
                (0..vectors).map(lane).collect()
            };
            not_a_number(tier, &signs(|_| 3e38), vectors);
            not_a_number(tier, &signs(|k| [3e38, -3e38][k % 2]), vectors);
            not_a_number(tier, &signs(|k| 3e38 * hadamard::SIGNS[k]), vectors);
        }

        let good = random.lanes(3, 1.0);
        let ones = vec![Lanes([1.0; LANES]); 3];
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
            for at in [0, 15, 16, 36] {
                let mut row = good.clone();
                row[2].0[5..].fill(0.0);
                row[at / LANES].0[at % LANES] = bad;
                tier.layer_norm(&mut row, 37, &ones, &ones, 1e-5);
                assert!(not_finite(&row), "{} {bad} at {at}", tier.isa());
            }
        }
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 15, 16, 36] {
                let mut scores = good.clone();
                scores[at / LANES].0[at % LANES] = bad;
                let mut sum = [0.0];
                tier.softmax(&mut scores, 37, 0.1, &mut sum);
                assert!(sum[0].is_nan(), "{} {bad} at {at}", tier.isa());
            }
        }
        let mut scores = vec![Lanes([f32::NEG_INFINITY; LANES]); 3];
        let mut sum = [0.0];
        tier.softmax(&mut scores, 37, 0.1, &mut sum);
        assert!(sum[0].is_nan(), "{}", tier.isa());
        for kind in [Gelu::Erf, Gelu::Tanh] {
            let mut values = [f32::NAN, f32::INFINITY].map(|x| Lanes([x; LANES]));
            tier.gelu(kind, &mut values);
            assert!(not_finite(&values), "{}", tier.isa());
        }
        for format in BlockFormat::ALL {
            let bytes = Bytes::new(&packed::quantize(format, &[1.0; 32 * BLOCK], BLOCK).unwrap());
            let matrix = PackedMatrix::new(format, 32, BLOCK, bytes.get()).unwrap();
            let bad = [ActivationBlock::new([0; BLOCK], f32::NAN)];
            let acts = Activations::row_major(&bad, 1);
            let out = product(tier, &matrix, &[Lanes::ZERO; 2], &acts, 2);
            assert!(not_finite(&out), "{} {format}", tier.isa());
        }
    }
}

/// A block without a number is codes of zero, and a scale that is none: as an activation, and as packed rows.
fn not_a_number(tier: Kernels, row: &[Lanes], vectors: usize) {
    let values = Panels {
        data: row,
        stride: 1,
    };
    let mut block = [ActivationBlock::ZERO];
    tier.quantize_panels(values, vectors, vectors, &mut block);
    assert!(block[0].scale.is_nan(), "{} {row:?}", tier.isa());
    assert_eq!(block[0].codes, [0; BLOCK]);
    let mut codes = vec![[7; GROUP_BYTES]; vectors * LANES / GROUP];
    let mut scales = [Lanes::ZERO];
    tier.pack_rows(
        values,
        (vectors, 1),
        vectors,
        (0, 1),
        &mut codes,
        &mut scales,
    );
    assert!(scales[0].0[0].is_nan(), "{} {row:?}", tier.isa());
    assert!(codes.as_flattened().iter().all(|&code| code == 0x80));
}

#[test]
fn the_table_of_the_documentation_is_true() {
    let page = include_str!("../../docs/kernels.md");
    let row = |isa: Isa, format: BlockFormat| {
        let start = format!("| {isa} | {format} |");
        let row = page.lines().find(|line| line.starts_with(&start));
        row.unwrap_or_else(|| panic!("no row {start}"))
    };
    for isa in Isa::ALL {
        for format in BlockFormat::ALL {
            let (row, features) = (row(isa, format), isa.features().join(", "));
            assert!(
                row.ends_with(&format!("| {features} |").replace("|  |", "| |")),
                "{row}"
            );
        }
    }
    for tier in tiers() {
        for format in BlockFormat::ALL {
            let (row, tile) = (row(tier.isa(), format), tier.tile(format));
            let cells = format!("| {} x {} | {} |", tile.tokens, tile.panels, tile.registers);
            assert!(row.contains(&cells), "{cells}: {row}");
        }
    }
}

/// What is found here is what the page says can be found on such a system. WebAssembly has nothing to ask.
#[cfg(not(target_family = "wasm"))]
#[test]
fn the_table_of_platforms_has_what_is_found() {
    use std::env::consts::{ARCH, OS};
    let page = include_str!("../../docs/platforms.md");
    let table = page.split("## Which kernels run").nth(1).unwrap();
    let row = |name: &str| table.lines().find_map(|line| line.strip_prefix(name));
    let names = [
        format!("| {OS}, {ARCH} |"),
        format!("| any, {ARCH} |"),
        "| any, any other |".to_owned(),
    ];
    let row = names.iter().find_map(|name| row(name)).unwrap();
    let can_be: Vec<&str> = row.rsplit('|').nth(1).unwrap().trim().split(", ").collect();
    for tier in tiers() {
        let name = tier.isa().name();
        assert!(
            can_be.contains(&name),
            "{OS}, {ARCH}: {name}, not in {can_be:?}"
        );
    }
    let known = |name: &&str| name.parse::<Isa>().is_ok_and(|isa| isa.name() == *name);
    assert!(can_be.iter().all(known), "{can_be:?}");
}
