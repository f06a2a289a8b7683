//! The heads: from hidden states to logits.

use crate::encoder::Compute;
use crate::encoder::weights::{Head, Linear};
use crate::encoder::workspace::Workspace;
use rq_format::Config;
use rq_kernels::BLOCK;
use rq_kernels::activation::{ActivationBlock, Activations};
use rq_kernels::lanes::{Lanes, panels_for};

impl Compute<'_> {
    /// The logits of the first `rows` hidden states, panel-major: `[outputs / 16][rows]`; none without a head.
    pub(crate) fn head<'w>(
        &self,
        head: &Head<'_>,
        config: &Config,
        rows: usize,
        workspace: &'w mut Workspace,
    ) -> &'w [Lanes] {
        let (panels, blocks) = (
            panels_for(config.hidden_size),
            config.hidden_size.div_ceil(BLOCK),
        );
        let Workspace {
            hidden,
            acts,
            output,
            ..
        } = workspace;
        let hidden = &mut hidden[..rows * panels];
        let acts = &mut acts[..rows * blocks];
        let out = match head {
            Head::None => return &[],
            Head::MaskedLm {
                dense,
                activation,
                norm,
                decoder,
            } => {
                let inner = &mut output[..panels * rows];
                self.product_of(dense, acts, blocks, inner);
                self.kernels.gelu(*activation, inner);
                let inner = &*inner;
                self.rows(config, hidden, acts, |row, lanes| {
                    take_row(inner, row, rows, lanes);
                    self.norm(norm, config, lanes);
                });
                decoder
            }
            Head::Sequence { dense, out } => {
                let inner = &mut output[..panels * rows];
                self.product_of(dense, acts, blocks, inner);
                let inner = &*inner;
                self.rows(config, hidden, acts, |row, lanes| {
                    take_row(inner, row, rows, lanes);
                    for x in lanes.iter_mut().flat_map(|lanes| &mut lanes.0) {
                        // In software, so that it is the same everywhere.
                        *x = libm::tanh(f64::from(*x)) as f32;
                    }
                });
                out
            }
            Head::Tokens { out } => out,
        };
        let logits = &mut output[..panels_for(config.outputs()) * rows];
        self.product_of(out, acts, blocks, logits);
        logits
    }

    /// All of a matrix times row-major activations.
    fn product_of(
        &self,
        linear: &Linear<'_>,
        acts: &[ActivationBlock],
        blocks: usize,
        out: &mut [Lanes],
    ) {
        let panels = linear.weight.panels();
        self.linear(
            linear,
            0..panels,
            &Activations::row_major(acts, blocks),
            out,
        );
    }
}

/// Copies a row of what a product gave.
fn take_row(panels: &[Lanes], row: usize, rows: usize, lanes: &mut [Lanes]) {
    for (x, y) in lanes.iter_mut().zip(panels[row..].iter().step_by(rows)) {
        *x = *y;
    }
}
