//! The heads: from hidden states to logits.

use crate::encoder::weights::{Head, Linear};
use crate::encoder::workspace::Workspace;
use crate::encoder::{Compute, is_finite};
use rq_format::{ClassifierAct, Config};
use rq_kernels::activation::{ActivationBlock, Activations};
use rq_kernels::lanes::{Lanes, as_floats_mut, panels_for};
use rq_kernels::{BLOCK, Gelu};
use std::ops::Range;

impl Compute<'_> {
    /// The logits of the first `rows` hidden states, of at most `tile` at a time, to `f`: with the rows that they are of,
    /// panel-major, `[outputs / 16][rows]`. None without a head, and none once one isn't finite.
    pub(crate) fn head(
        &self,
        head: &Head<'_>,
        config: &Config,
        (rows, tile): (usize, usize),
        workspace: &mut Workspace,
        mut f: impl FnMut(Range<usize>, &[Lanes]),
    ) {
        let Some((out, columns)) = self.head_inputs(head, config, rows, workspace) else {
            return;
        };
        let Workspace { acts, output, .. } = workspace;
        for start in (0..rows).step_by(tile) {
            let range = start..rows.min(start + tile);
            let logits = &mut output[..panels_for(config.outputs()) * range.len()];
            self.product_of(out, acts, (range.clone(), columns), logits);
            self.check_logits(logits, range.clone());
            if self.faults.first().is_some() {
                return;
            }
            f(range, logits);
        }
    }

    /// Leaves what the head's last product takes of the first `rows` hidden states; that product, and the width of its inputs.
    fn head_inputs<'h, 'a>(
        &self,
        head: &'h Head<'a>,
        config: &Config,
        rows: usize,
        workspace: &mut Workspace,
    ) -> Option<(&'h Linear<'a>, usize)> {
        let (hidden_size, width) = (config.hidden_size, config.embedding_width());
        let Workspace {
            hidden,
            acts,
            output,
            ..
        } = workspace;
        match head {
            Head::None => None,
            Head::MaskedLm {
                dense,
                activation,
                norm,
                decoder,
            } => {
                let inner = &mut output[..panels_for(width) * rows];
                self.product_of(dense, acts, (0..rows, hidden_size), inner);
                self.kernels.gelu(*activation, inner);
                let inner = &*inner;
                self.rows(width, rows, hidden, acts, |row, lanes| {
                    take_row(inner, row, rows, lanes);
                    self.norm(norm, config, width, row, lanes);
                });
                Some((decoder, width))
            }
            Head::Classifier { dense, out } => {
                if let Some((dense, act)) = dense {
                    let inner = &mut output[..panels_for(hidden_size) * rows];
                    self.product_of(dense, acts, (0..rows, hidden_size), inner);
                    let inner = &*inner;
                    self.rows(hidden_size, rows, hidden, acts, |row, lanes| {
                        take_row(inner, row, rows, lanes);
                        // Before the activation function, which may have a limit at infinity.
                        self.faults.check(self.stage, row, lanes);
                        self.activate(*act, lanes);
                    });
                }
                Some((out, hidden_size))
            }
        }
    }

    /// All of a matrix times some rows of row-major activations, of `columns` values each.
    fn product_of(
        &self,
        linear: &Linear<'_>,
        acts: &[ActivationBlock],
        (rows, columns): (Range<usize>, usize),
        out: &mut [Lanes],
    ) {
        let (panels, blocks) = (linear.weight.panels(), columns.div_ceil(BLOCK));
        let acts = &acts[rows.start * blocks..rows.end * blocks];
        let acts = Activations::row_major(acts, blocks);
        self.linear(linear, 0..panels, &acts, out);
    }

    /// Notes the first of these rows whose logits, panel-major, aren't all finite.
    fn check_logits(&self, logits: &[Lanes], rows: Range<usize>) {
        if !is_finite(logits) {
            for (at, row) in rows.clone().enumerate() {
                let of_row = logits[at..].iter().step_by(rows.len());
                of_row.for_each(|lanes| self.faults.check(self.stage, row, &[*lanes]));
            }
        }
    }

    /// The function between the two products of a classifier.
    fn activate(&self, act: ClassifierAct, values: &mut [Lanes]) {
        let each = |f: fn(f32) -> f32, values: &mut [Lanes]| {
            as_floats_mut(values).iter_mut().for_each(|x| *x = f(*x));
        };
        match act {
            // In software, so that it is the same everywhere.
            ClassifierAct::Tanh => each(|x| libm::tanh(f64::from(x)) as f32, values),
            ClassifierAct::Relu => each(|x| x.max(0.0), values),
            ClassifierAct::Gelu => self.kernels.gelu(Gelu::Erf, values),
            ClassifierAct::GeluTanh => self.kernels.gelu(Gelu::Tanh, values),
        }
    }
}

/// Copies a row of what a product gave.
pub(super) fn take_row(panels: &[Lanes], row: usize, rows: usize, lanes: &mut [Lanes]) {
    for (x, y) in lanes.iter_mut().zip(panels[row..].iter().step_by(rows)) {
        *x = *y;
    }
}
