//! The masked language modelling head: dense, activation, LayerNorm, and the decoder over the vocabulary.

use crate::encoder::Compute;
use crate::weights::LmHead;
use crate::workspace::Workspace;
use rq_format::Config;
use rq_kernels::activation::Activations;
use rq_kernels::lanes::{Lanes, panels_for};
use rq_kernels::{BLOCK, Gelu};

impl Compute<'_> {
    /// The logits of the first `rows` hidden states, panel-major: `[vocab_size / 16][rows]`.
    pub(crate) fn lm_head<'w>(
        &self,
        head: &LmHead<'_>,
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

        let dense = &mut output[..panels * rows];
        self.linear(
            &head.dense,
            0..panels,
            &Activations::row_major(acts, blocks),
            dense,
        );
        // The exact form, whatever the encoder's activation function is.
        self.kernels.gelu(Gelu::Erf, dense);
        let dense = &*dense;
        self.rows(config, hidden, acts, |row, lanes| {
            for (x, y) in lanes.iter_mut().zip(dense[row..].iter().step_by(rows)) {
                *x = *y;
            }
            self.norm(&head.norm, config, lanes);
        });

        let vocab_panels = panels_for(config.vocab_size);
        let logits = &mut output[..vocab_panels * rows];
        self.linear(
            &head.decoder,
            0..vocab_panels,
            &Activations::row_major(acts, blocks),
            logits,
        );
        logits
    }
}
