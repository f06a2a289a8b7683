//! The block-quantized matrix product on one thread: each format and instruction set, at 1 to 512 tokens, over the four
//! shapes of a RoBERTa-large layer. Throughput is in operations: two for each multiply-add.
//!
//! `cargo bench -p rq-runtime --bench matmul` takes half an hour, most of it for plain Rust; or a part of it: `cargo bench -p rq-runtime --bench matmul -- avx2/q4/1024x1024`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rq_kernels::BLOCK;
use rq_kernels::activation::{ActivationBlock, Activations};
use rq_kernels::kernels::detected;
use rq_kernels::lanes::{Lanes, panels_for};
use rq_kernels::packed::{self, BlockFormat, PackedMatrix};
use std::hint::black_box;
use std::time::Duration;

/// Outputs and inputs: queries, keys and values; attention's output; feed-forward up and down.
const SHAPES: [(usize, usize); 4] = [(3072, 1024), (1024, 1024), (4096, 1024), (1024, 4096)];
const TOKENS: [usize; 5] = [1, 8, 32, 128, 512];

/// Values that look like weights and activations: a sum of four uniform ones.
fn values(n: usize, mut seed: u64) -> Vec<f32> {
    let mut uniform = || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n)
        .map(|_| uniform() + uniform() + uniform() + uniform())
        .collect()
}

fn matmul(criterion: &mut Criterion) {
    for kernels in detected() {
        for format in BlockFormat::ALL {
            for (rows, columns) in SHAPES {
                let bytes = packed::quantize(format, &values(rows * columns, 1), columns)
                    .expect("finite weights");
                let weights =
                    PackedMatrix::new(format, rows, columns, &bytes).expect("what was packed");
                let bias = vec![Lanes::ZERO; panels_for(rows)];
                let mut group = criterion
                    .benchmark_group(format!("{}/{format}/{rows}x{columns}", kernels.isa()));
                group
                    .sample_size(10)
                    .warm_up_time(Duration::from_millis(100))
                    .measurement_time(Duration::from_millis(500));
                for tokens in TOKENS {
                    let x = values(tokens * columns, 2);
                    let mut blocks = vec![ActivationBlock::default(); tokens * columns / BLOCK];
                    kernels.quantize_row(&rq_kernels::lanes::to_lanes(&x), &mut blocks);
                    let acts = Activations::row_major(&blocks, columns / BLOCK);
                    let mut out = vec![Lanes::ZERO; panels_for(rows) * tokens];
                    group.throughput(Throughput::Elements((2 * rows * columns * tokens) as u64));
                    group.bench_function(BenchmarkId::from_parameter(tokens), |b| {
                        b.iter(|| {
                            kernels.linear(
                                &weights,
                                0..bias.len(),
                                &bias,
                                &acts,
                                black_box(&mut out),
                            );
                        });
                    });
                }
                group.finish();
            }
        }
    }
}

criterion_group!(benches, matmul);
criterion_main!(benches);
