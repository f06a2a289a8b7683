//! GPTQ: rounding in which each weight makes up for the errors of those before it.
//!
//! A row w of weights, its quantized form q and the second moments H of its inputs leave the error (w - q) H (w - q)^T.
//! With H = V D V^T, V upper triangular with a unit diagonal, that is the sum over columns j of
//! D_j (t_j - q_j)^2, where t_j = w_j + sum over i < j of (w_i - q_i) V_ij: so each weight is rounded not from w_j but from
//! t_j, which holds what the earlier columns did wrong (Frantar et al. 2022, in the form of Chee et al. 2023, which needs
//! no inverse of H). An error that the inputs already carry, known by its products g with them, moves the targets:
//! t_j gains z_j, where z D V^T = g.
//!
//! All of this is in the rotated basis: columns are those of H D w, and inputs those of H D x / 128, quantized
//! (H and D as in [`rq_kernels::hadamard`], not the D above).
//!
//! Departures from the paper: columns come block by block, those with the largest moments first, within a block the
//! sub-blocks and within these the columns alike, so that a scale is still chosen for what its weights have become; and a
//! sub-scale is chosen by rounding the sub-block with each candidate, the feedback within it included, as is a scale.
//!
//! Every sum is in f32 (the pivots in f64), in an order that depends on nothing but the sizes: threads divide rows and
//! panels, and the products are those of [`rq_kernels`], which have the same bits on every instruction set.

use half::f16;
use rayon::prelude::*;
use rq_kernels::kernels::Kernels;
use rq_kernels::lanes::{LANES, Lanes};
use rq_kernels::packed::{BlockFormat, SUB_BLOCK, SUB_BLOCKS, Scales, place_q4, place_q8};
use rq_kernels::{BLOCK, Panels, PanelsMut, q4, q8};

/// Rows of the factor that are computed together.
pub(crate) const CHUNK: usize = 64;
const PANELS: usize = CHUNK / LANES;

/// Second moments of the inputs of a product, summed: symmetric, of `columns` rows of `columns`.
pub(crate) struct Moments {
    columns: usize,
    values: Vec<f32>,
}

impl Moments {
    /// # Panics
    /// When `values` isn't square.
    pub(crate) fn new(columns: usize, values: Vec<f32>) -> Self {
        assert_eq!(columns * columns, values.len());
        Self { columns, values }
    }

    fn diagonal(&self, column: usize) -> f32 {
        self.values[column * self.columns + column]
    }
}

/// The order of the columns and the factor V D V^T of their moments.
pub(crate) struct Factor {
    /// The column at each position.
    order: Vec<usize>,
    /// D, by position.
    pivots: Vec<f32>,
    /// For each block of positions, the rows of V^T that belong to it, up to the block: the left operand of a product.
    earlier: Vec<Vec<Lanes>>,
    /// For each block of positions, the rows of V that belong to it, from the next block on.
    later: Vec<Vec<Lanes>>,
    /// For each block of positions, V within it.
    within: Vec<Within>,
}

/// V within a block.
type Within = Vec<[f32; BLOCK]>;

impl Factor {
    /// Factors the moments, with `damping` times their mean diagonal added to it.
    ///
    /// Returns `None` when the moments aren't those of any inputs: not finite, or too far from positive.
    ///
    /// # Panics
    /// When the columns aren't whole blocks.
    pub(crate) fn new(moments: &Moments, damping: f64, kernels: Kernels) -> Option<Self> {
        let n = moments.columns;
        assert!(n.is_multiple_of(BLOCK), "{n} columns");
        let order = order(moments);
        let mean = (0..n).map(|c| f64::from(moments.diagonal(c))).sum::<f64>() / n as f64;
        if !mean.is_finite() {
            return None;
        }
        let damping = if mean > 0.0 { damping * mean } else { 1.0 } as f32;
        // Last position first: the lower factor of the reversed matrix is the upper one, reversed.
        let value = |i: usize, j: usize| -> f32 {
            let (i, j) = (order[n - 1 - i], order[n - 1 - j]);
            let damped = if i == j { damping } else { 0.0 };
            moments.values[i * n + j] + damped
        };
        let lower = cholesky(n, value, kernels)?;
        let at = |i: usize, j: usize| lower[i / CHUNK][j / LANES * CHUNK + i % CHUNK].0[j % LANES];
        let root: Vec<f32> = (0..n).map(|p| at(n - 1 - p, n - 1 - p)).collect();
        // V, in positions, above the diagonal.
        let v = |i: usize, j: usize| at(n - 1 - i, n - 1 - j) / root[j];
        let blocks = n / BLOCK;
        let earlier = (0..blocks).into_par_iter().map(|b| {
            let mut rows = vec![Lanes::ZERO; b * BLOCK / LANES * BLOCK];
            for (panel, rows) in rows.chunks_exact_mut(BLOCK).enumerate() {
                for (r, lanes) in rows.iter_mut().enumerate() {
                    lanes.0 = std::array::from_fn(|l| v(panel * LANES + l, b * BLOCK + r));
                }
            }
            rows
        });
        let later = (0..blocks).into_par_iter().map(|b| {
            let first = (b + 1) * BLOCK;
            let mut rows = vec![Lanes::ZERO; (n - first) / LANES * BLOCK];
            for (panel, rows) in rows.chunks_exact_mut(BLOCK).enumerate() {
                for (r, lanes) in rows.iter_mut().enumerate() {
                    lanes.0 = std::array::from_fn(|l| v(b * BLOCK + r, first + panel * LANES + l));
                }
            }
            rows
        });
        let within = (0..blocks).map(|b| {
            let rows = (0..BLOCK).map(|i| {
                std::array::from_fn(|j| match i < j {
                    true => v(b * BLOCK + i, b * BLOCK + j),
                    false => 0.0,
                })
            });
            rows.collect()
        });
        Some(Self {
            pivots: root.iter().map(|r| r * r).collect(),
            earlier: earlier.collect(),
            later: later.collect(),
            within: within.collect(),
            order,
        })
    }

    /// Quantizes a panel: `weights[k]` and `inherited[k]` hold column k of its rows. Writes `codes` and `scales`, the
    /// panel's part of the two planes, and returns the errors w - q by column; `None` when a scale doesn't fit f16.
    ///
    /// # Panics
    /// When a slice doesn't have the length that the factor implies.
    pub(crate) fn quantize_panel(
        &self,
        format: BlockFormat,
        weights: &[Lanes],
        inherited: Option<&[Lanes]>,
        codes: &mut [u8],
        scales: &mut [Scales],
        kernels: Kernels,
    ) -> Option<Vec<Lanes>> {
        let n = self.order.len();
        assert_eq!(weights.len(), n);
        let shift = inherited.map(|g| self.shift(|p| g[self.order[p]], kernels));
        let mut errors = vec![Lanes::ZERO; n];
        let mut by_column = vec![Lanes::ZERO; n];
        let mut feedback = [Lanes::ZERO; BLOCK];
        for b in 0..n / BLOCK {
            let first = b * BLOCK;
            self.product(&self.earlier[b], &errors[..first], &mut feedback, kernels);
            let w: [Lanes; BLOCK] = std::array::from_fn(|r| weights[self.order[first + r]]);
            let mut targets = w;
            for (r, t) in targets.iter_mut().enumerate() {
                let z = shift.as_ref().map_or(Lanes::ZERO, |z| z[first + r]);
                for l in 0..LANES {
                    t.0[l] += z.0[l] + feedback[r].0[l];
                }
            }
            let problem = Problem {
                format,
                weights: &w,
                targets: &targets,
                v: &self.within[b],
                pivots: self.pivots[first..].first_chunk()?,
            };
            let rounded = problem.round()?;
            let block = self.order[first] / BLOCK;
            let codes = &mut codes[block * format.code_bytes()..][..format.code_bytes()];
            for lane in 0..LANES {
                let scale = rounded.scales[lane];
                let mut codes_of = [0; BLOCK];
                let mut sub_scales = [0; SUB_BLOCKS];
                for r in 0..BLOCK {
                    let k = self.order[first + r] % BLOCK;
                    let part = &rounded.sub_blocks[r / SUB_BLOCK];
                    codes_of[k] = part.codes[r % SUB_BLOCK][lane];
                    sub_scales[k / SUB_BLOCK] = part.sub_scales[lane];
                }
                match format {
                    BlockFormat::Q4 => {
                        let codes_of = q4::BlockQ4 {
                            scale,
                            sub_scales,
                            codes: codes_of,
                        };
                        place_q4(&codes_of, lane, codes, &mut scales[block]);
                    }
                    BlockFormat::Q8 => {
                        let codes_of = q8::BlockQ8 {
                            scale,
                            codes: codes_of,
                        };
                        place_q8(&codes_of, lane, codes, &mut scales[block]);
                    }
                }
            }
            for (r, &error) in rounded.errors().enumerate() {
                errors[first + r] = error;
                by_column[self.order[first + r]] = error;
            }
        }
        Some(by_column)
    }

    /// z with z D V^T = g, by position: the last block first.
    fn shift(&self, g: impl Fn(usize) -> Lanes, kernels: Kernels) -> Vec<Lanes> {
        let n = self.order.len();
        let mut y = vec![Lanes::ZERO; n];
        let mut known = [Lanes::ZERO; BLOCK];
        for b in (0..n / BLOCK).rev() {
            let first = b * BLOCK;
            self.product(&self.later[b], &y[first + BLOCK..], &mut known, kernels);
            for r in (0..BLOCK).rev() {
                let mut x = g(first + r);
                for l in 0..LANES {
                    x.0[l] -= known[r].0[l];
                }
                for i in r + 1..BLOCK {
                    let v = self.within[b][r][i];
                    for l in 0..LANES {
                        x.0[l] -= y[first + i].0[l] * v;
                    }
                }
                y[first + r] = x;
            }
        }
        for (y, d) in y.iter_mut().zip(&self.pivots) {
            y.0.iter_mut().for_each(|y| *y /= d);
        }
        y
    }

    fn product(&self, a: &[Lanes], b: &[Lanes], out: &mut [Lanes; BLOCK], kernels: Kernels) {
        let data = PanelsMut {
            data: out,
            stride: BLOCK,
        };
        let panels = Panels {
            data: b,
            stride: b.len(),
        };
        kernels.matmul_f32(a, panels, b.len(), &[1.0; BLOCK], 1, data);
    }
}

/// The positions' columns: blocks by the sum of their moments, then the sub-blocks of a block, then the columns of a
/// sub-block, the largest first.
fn order(moments: &Moments) -> Vec<usize> {
    let by_moments = |first: usize, count: usize, size: usize| {
        let moment = |at: usize| -> f32 {
            let columns = at..at + size;
            columns.map(|column| moments.diagonal(column)).sum()
        };
        let mut parts: Vec<(f32, usize)> = (0..count)
            .map(|i| first + i * size)
            .map(|at| (moment(at), at))
            .collect();
        parts.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        parts.into_iter().map(|(_, at)| at)
    };
    by_moments(0, moments.columns / BLOCK, BLOCK)
        .flat_map(|block| by_moments(block, SUB_BLOCKS, SUB_BLOCK))
        .flat_map(|sub_block| by_moments(sub_block, SUB_BLOCK, 1))
        .collect()
}

/// The lower Cholesky factor of a matrix of n rows, a multiple of [`CHUNK`]: chunk by chunk of rows, panel-major up to
/// the diagonal. `None` when a pivot isn't positive.
fn cholesky(
    n: usize,
    value: impl Fn(usize, usize) -> f32 + Sync,
    kernels: Kernels,
) -> Option<Vec<Vec<Lanes>>> {
    let chunks = n / CHUNK;
    let mut lower: Vec<Vec<Lanes>> = vec![Vec::new(); chunks];
    for c in 0..chunks {
        let done = c * CHUNK;
        // The rows of this chunk as right operand: for each panel of rows, a vector for each column.
        let mut right = vec![Lanes::ZERO; PANELS * done];
        for (p, right) in right.chunks_exact_mut(done.max(1)).enumerate() {
            for (k, lanes) in right.iter_mut().enumerate() {
                lanes.0 = std::array::from_fn(|l| {
                    lower[c][k / LANES * CHUNK + p * LANES + l].0[k % LANES]
                });
            }
        }
        // What is left of this column of chunks, `[panel][row]`.
        let rest = |rows: usize, left: &[Lanes]| {
            let mut out = vec![Lanes::ZERO; PANELS * CHUNK];
            if done > 0 {
                let b = Panels {
                    data: &right,
                    stride: done,
                };
                let out = PanelsMut {
                    data: &mut out,
                    stride: CHUNK,
                };
                kernels.matmul_f32(left, b, done, &[-1.0; CHUNK], PANELS, out);
            }
            for (p, out) in out.chunks_exact_mut(CHUNK).enumerate() {
                for (i, lanes) in out.iter_mut().enumerate() {
                    for (l, x) in lanes.0.iter_mut().enumerate() {
                        *x += value(rows * CHUNK + i, done + p * LANES + l);
                    }
                }
            }
            out
        };
        let mut diagonal = rest(c, &lower[c]);
        // The factor of the diagonal chunk, in f64.
        let mut f = vec![0.0f64; CHUNK * CHUNK];
        for i in 0..CHUNK {
            for j in 0..=i {
                let mut x = f64::from(diagonal[j / LANES * CHUNK + i].0[j % LANES]);
                for k in 0..j {
                    x -= f[i * CHUNK + k] * f[j * CHUNK + k];
                }
                f[i * CHUNK + j] = if i > j {
                    x / f[j * CHUNK + j]
                } else if x > 0.0 && x.is_finite() {
                    x.sqrt()
                } else {
                    return None;
                };
            }
        }
        for (p, out) in diagonal.chunks_exact_mut(CHUNK).enumerate() {
            for (i, lanes) in out.iter_mut().enumerate() {
                lanes.0 = std::array::from_fn(|l| f[i * CHUNK + p * LANES + l] as f32);
            }
        }
        let (above, below) = lower.split_at_mut(c + 1);
        above[c].extend(diagonal);
        below.par_iter_mut().enumerate().for_each(|(i, rows)| {
            let mut out = rest(c + 1 + i, rows);
            let mut x = [0.0f64; CHUNK];
            for row in 0..CHUNK {
                for j in 0..CHUNK {
                    let mut sum = f64::from(out[j / LANES * CHUNK + row].0[j % LANES]);
                    for k in 0..j {
                        sum -= x[k] * f[j * CHUNK + k];
                    }
                    x[j] = sum / f[j * CHUNK + j];
                    out[j / LANES * CHUNK + row].0[j % LANES] = x[j] as f32;
                }
            }
            rows.extend(out);
        });
    }
    Some(lower)
}

/// A block of a panel, rounded.
struct Rounded {
    scales: Scales,
    /// In the order of their positions.
    sub_blocks: Vec<RoundedSubBlock>,
}

/// A sub-block of a panel, rounded.
struct RoundedSubBlock {
    /// 1 in q8.
    sub_scales: [u8; LANES],
    /// By position in the sub-block.
    codes: [[i8; LANES]; SUB_BLOCK],
    /// w - q, by position in the sub-block.
    errors: [Lanes; SUB_BLOCK],
    /// For each row, the sum of D (t - q)^2.
    losses: [f32; LANES],
}

impl RoundedSubBlock {
    /// Takes over a row.
    fn take_row(&mut self, l: usize, other: &Self) {
        self.losses[l] = other.losses[l];
        self.sub_scales[l] = other.sub_scales[l];
        for j in 0..SUB_BLOCK {
            self.codes[j][l] = other.codes[j][l];
            self.errors[j].0[l] = other.errors[j].0[l];
        }
    }

    /// Takes over the rows that the other rounded better.
    fn take_better(&mut self, other: &Self) {
        for l in 0..LANES {
            if other.losses[l] < self.losses[l] {
                self.take_row(l, other);
            }
        }
    }
}

impl Rounded {
    fn loss(&self, l: usize) -> f32 {
        self.sub_blocks.iter().map(|part| part.losses[l]).sum()
    }

    /// Takes over the rows that the other rounded better.
    fn take_better(&mut self, other: &Self) {
        for l in 0..LANES {
            if other.loss(l) < self.loss(l) {
                self.scales[l] = other.scales[l];
                for (part, other) in self.sub_blocks.iter_mut().zip(&other.sub_blocks) {
                    part.take_row(l, other);
                }
            }
        }
    }

    /// w - q, by position in the block.
    fn errors(&self) -> impl Iterator<Item = &Lanes> {
        self.sub_blocks.iter().flat_map(|part| &part.errors)
    }
}

/// Steps around the scale that leaves the least error without feedback.
const REFINEMENTS: [f32; 2] = [0.96, 1.04];

/// A block of a panel that is to be rounded.
struct Problem<'a> {
    format: BlockFormat,
    weights: &'a [Lanes; BLOCK],
    targets: &'a [Lanes; BLOCK],
    v: &'a Within,
    pivots: &'a [f32; BLOCK],
}

impl Problem<'_> {
    /// Rounds with the best scale for each row.
    fn round(&self) -> Option<Rounded> {
        let rows: [[f32; BLOCK]; LANES] =
            std::array::from_fn(|l| std::array::from_fn(|r| self.targets[r].0[l]));
        let best = match self.format {
            BlockFormat::Q8 => {
                let absmax = rows.map(|row| row.iter().fold(0.0f32, |m, x| m.max(x.abs())));
                self.with(absmax.map(q8::scale))
            }
            BlockFormat::Q4 => {
                let mut scales = [f16::ZERO; LANES];
                for (scale, row) in scales.iter_mut().zip(&rows) {
                    *scale = q4::quantize(row)?.scale;
                }
                let mut best = self.with(scales);
                for step in REFINEMENTS {
                    let scales = scales.map(|scale| f16::from_f32(scale.to_f32() * step));
                    best.take_better(&self.with(scales));
                }
                best
            }
        };
        let finite = best.scales.iter().all(|scale| scale.is_finite());
        finite.then_some(best)
    }

    /// Rounds with these scales, sub-block after sub-block.
    fn with(&self, scales: Scales) -> Rounded {
        let mut rounded = Rounded {
            scales,
            sub_blocks: Vec::with_capacity(SUB_BLOCKS),
        };
        for first in (0..BLOCK).step_by(SUB_BLOCK) {
            let mut targets: [Lanes; SUB_BLOCK] = std::array::from_fn(|r| self.targets[first + r]);
            for (i, error) in rounded.errors().enumerate() {
                for (target, v) in targets.iter_mut().zip(&self.v[i][first..]) {
                    for l in 0..LANES {
                        target.0[l] += error.0[l] * v;
                    }
                }
            }
            let sub_block = self.sub_block(first, &targets, scales.map(f16::to_f32));
            rounded.sub_blocks.push(sub_block);
        }
        rounded
    }

    /// Rounds the sub-block that begins at position `first` with the best sub-scale for each row.
    fn sub_block(
        &self,
        first: usize,
        targets: &[Lanes; SUB_BLOCK],
        scales: [f32; LANES],
    ) -> RoundedSubBlock {
        if self.format == BlockFormat::Q8 {
            return self.sub_block_with(first, targets, scales, [1; LANES], q8::code);
        }
        let candidates: [_; LANES] = std::array::from_fn(|l| {
            let absmax = targets.iter().fold(0.0f32, |m, t| m.max(t.0[l].abs()));
            q4::sub_scales(absmax * q8::inverse(scales[l].abs()))
        });
        let most = candidates.iter().map(|c| c.end() - c.start()).max();
        let mut best: Option<RoundedSubBlock> = None;
        for i in 0..=most.unwrap_or(0) {
            let sub_scales = candidates.each_ref().map(|c| (c.start() + i).min(*c.end()));
            let next = self.sub_block_with(first, targets, scales, sub_scales, q4::code);
            match &mut best {
                None => best = Some(next),
                Some(best) => best.take_better(&next),
            }
        }
        best.expect("a candidate at least")
    }

    fn sub_block_with(
        &self,
        first: usize,
        targets: &[Lanes; SUB_BLOCK],
        scales: [f32; LANES],
        sub_scales: [u8; LANES],
        code: impl Fn(f32, f32) -> f32,
    ) -> RoundedSubBlock {
        let steps: [f32; LANES] = std::array::from_fn(|l| scales[l] * f32::from(sub_scales[l]));
        let inverse = steps.map(q8::inverse);
        let mut t = *targets;
        let mut rounded = RoundedSubBlock {
            sub_scales,
            codes: [[0; LANES]; SUB_BLOCK],
            errors: [Lanes::ZERO; SUB_BLOCK],
            losses: [0.0; LANES],
        };
        for j in 0..SUB_BLOCK {
            let weights = &self.weights[first + j];
            let error = &mut rounded.errors[j];
            for l in 0..LANES {
                let code = code(t[j].0[l], inverse[l]);
                rounded.codes[j][l] = code as i8;
                let q = steps[l] * code;
                error.0[l] = weights.0[l] - q;
                let missed = t[j].0[l] - q;
                rounded.losses[l] += self.pivots[first + j] * missed * missed;
            }
            let error = *error;
            for (t, v) in t[j + 1..]
                .iter_mut()
                .zip(&self.v[first + j][first + j + 1..])
            {
                for l in 0..LANES {
                    t.0[l] += error.0[l] * v;
                }
            }
        }
        rounded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rq_kernels::packed::{PackedMatrix, quantize};
    use rq_kernels::{hadamard, kernels};

    /// Numbers in [-1, 1), always the same.
    fn noise(seed: u64) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// Correlated inputs' moments, and the rows of a weight.
    fn problem(columns: usize, rows: usize) -> (Vec<f32>, Vec<f32>) {
        let mut noise = noise(columns as u64);
        let mut moments = vec![0.0; columns * columns];
        for _ in 0..4 * columns {
            let common = [noise(), noise(), noise()];
            let x: Vec<f32> = (0..columns)
                .map(|c| noise() + common[c % 3] * (1.0 + c as f32 / 16.0))
                .collect();
            for (row, a) in moments.chunks_exact_mut(columns).zip(&x) {
                row.iter_mut().zip(&x).for_each(|(m, b)| *m += a * b);
            }
        }
        (moments, (0..rows * columns).map(|_| noise()).collect())
    }

    /// The sum over rows of (w - q) H (w - q)^T.
    fn loss(
        bytes: &[u8],
        format: BlockFormat,
        weights: &[f32],
        moments: &[f32],
        columns: usize,
    ) -> f64 {
        let aligned: Vec<f16> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f16::from_le_bytes(*b))
            .collect();
        let rows = weights.len() / columns;
        let matrix =
            PackedMatrix::new(format, rows, columns, bytemuck::cast_slice(&aligned)).unwrap();
        let mut sum = 0.0;
        for (row, w) in weights.chunks_exact(columns).enumerate() {
            let mut back = vec![0.0; columns];
            for (block, back) in back.chunks_mut(BLOCK).enumerate() {
                back.copy_from_slice(&matrix.rotated(row, block));
            }
            let e: Vec<f64> = w.iter().zip(back).map(|(w, q)| f64::from(w - q)).collect();
            for (h, e_i) in moments.chunks_exact(columns).zip(&e) {
                let product: f64 = h.iter().zip(&e).map(|(h, e)| f64::from(*h) * e).sum();
                sum += e_i * product;
            }
        }
        sum
    }

    #[test]
    fn it_beats_the_search_in_its_own_objective() {
        let kernels = kernels::best();
        for columns in [BLOCK, 2 * BLOCK, 3 * BLOCK] {
            let (moments, weights) = problem(columns, LANES);
            let factor =
                Factor::new(&Moments::new(columns, moments.clone()), 0.01, kernels).unwrap();
            let lanes: Vec<Lanes> = (0..columns)
                .map(|k| Lanes(std::array::from_fn(|l| weights[l * columns + k])))
                .collect();
            for (format, least) in [(BlockFormat::Q4, 0.6), (BlockFormat::Q8, 0.9)] {
                let blocks = columns.div_ceil(BLOCK);
                let mut bytes = vec![0; blocks * format.code_bytes()];
                let mut scales = vec![[f16::ZERO; LANES]; blocks];
                let errors = factor
                    .quantize_panel(format, &lanes, None, &mut bytes, &mut scales, kernels)
                    .unwrap();
                bytes.extend_from_slice(bytemuck::cast_slice::<Scales, u8>(&scales));
                let found = loss(&bytes, format, &weights, &moments, columns);
                let mut unrotated = weights.clone();
                for block in unrotated.as_chunks_mut::<BLOCK>().0 {
                    hadamard::rotate_back(block);
                }
                let search = quantize(format, &unrotated, columns).unwrap();
                let search = loss(&search, format, &weights, &moments, columns);
                assert!(
                    found < least * search,
                    "{format} {columns}: {found} against {search}"
                );
                assert_eq!(errors.len(), columns);
            }
        }
    }

    #[test]
    fn the_factor_gives_the_moments_back() {
        let columns = 2 * BLOCK;
        let (moments, _) = problem(columns, 1);
        let value = |i: usize, j: usize| moments[i * columns + j] + f32::from(i == j);
        let n = columns;
        let lower = cholesky(n, value, kernels::best()).unwrap();
        let at = |i: usize, j: usize| {
            let known = lower[i / CHUNK].get(j / LANES * CHUNK + i % CHUNK);
            known.map_or(0.0, |lanes| f64::from(lanes.0[j % LANES]))
        };
        for (i, j) in [
            (0, 0),
            (63, 12),
            (64, 63),
            (100, 100),
            (159, 3),
            (170, 170),
            (191, 5),
        ] {
            let product: f64 = (0..n).map(|k| at(i, k) * at(j, k)).sum();
            let expected = f64::from(value(i, j));
            assert!(
                (product - expected).abs() < 1e-3 * f64::from(value(0, 0)),
                "{i} {j}: {product} {expected}"
            );
        }
    }

    #[test]
    fn inputs_that_never_vary_leave_the_weights_to_the_search() {
        let kernels = kernels::best();
        assert!(
            Factor::new(
                &Moments::new(BLOCK, vec![0.0; BLOCK * BLOCK]),
                0.01,
                kernels
            )
            .is_some()
        );
        assert!(
            Factor::new(
                &Moments::new(BLOCK, vec![f32::NAN; BLOCK * BLOCK]),
                0.01,
                kernels
            )
            .is_none()
        );
    }
}
