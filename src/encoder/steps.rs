//! The encoder product by product, for calibration, which chooses a product's weights when it has seen its inputs.
//!
//! A text goes through the code of [`crate::Session`], on the caller's thread: what calibration sees is what the runtime
//! will compute. Not for users of the library: it changes with the encoder.

pub use crate::encoder::weights::{Embeddings, Linear, Norm};

use crate::batch::Batch;
use crate::encoder::attention::Sequences;
use crate::encoder::relative::RelativeBias;
use crate::encoder::weights::gelu;
use crate::encoder::workspace::{Extent, Slot};
use crate::encoder::{Compute, Faults, attention_panels};
use rq_format::Config;
use rq_kernels::activation::{ActivationBlock, Activations};
use rq_kernels::kernels::Kernels;
use rq_kernels::lanes::{LANES, Lanes, panels_for};
use rq_kernels::threads::Threads;
use rq_kernels::{BLOCK, VECTORS};
use std::sync::Mutex;

/// A product of a layer, in the order of their use, and what follows it up to the next.
#[derive(Clone, Copy, Debug)]
pub enum Product<'a> {
    /// Queries, keys and values; then attention.
    Qkv,
    /// Attention's output; then the residual stream and LayerNorm.
    AttentionOutput(Norm<'a>),
    /// The first of the feed-forward part; then its activation function.
    Up,
    /// The second; then the residual stream and LayerNorm.
    Down(Norm<'a>),
}

/// A text before a product.
#[derive(Clone, Debug)]
pub struct State {
    tokens: usize,
    hidden: Vec<Lanes>,
    inputs: Vec<ActivationBlock>,
    /// From block to block of the inputs, and from token to token, which is 1 where attention or the activation function
    /// wrote them.
    strides: (usize, usize),
}

impl State {
    /// Tokens of the text.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The residual stream, row after row, each filled up to whole vectors.
    pub fn hidden(&self) -> &[Lanes] {
        &self.hidden
    }

    /// The residual stream alone.
    pub fn into_hidden(self) -> Vec<Lanes> {
        self.hidden
    }

    /// What the next product takes of a token: panel `panel` of its inputs, as they are after rotation and quantization.
    #[inline]
    pub fn input(&self, token: usize, panel: usize) -> Lanes {
        let (block_stride, token_stride) = self.strides;
        let at = panel / VECTORS * block_stride + token * token_stride;
        let ActivationBlock { codes, scale, .. } = &self.inputs[at];
        let codes = &codes[panel % VECTORS * LANES..][..LANES];
        Lanes(std::array::from_fn(|l| f32::from(codes[l]) * scale))
    }

    fn inputs(&self) -> Activations<'_> {
        match self.strides {
            (_, 1) => Activations::block_major(&self.inputs, self.tokens),
            (_, blocks) => Activations::row_major(&self.inputs, blocks),
        }
    }
}

/// Takes texts through the encoder, one at a time.
#[derive(Debug)]
pub struct Steps<'a> {
    config: &'a Config,
    kernels: Kernels,
    relative_bias: Vec<Lanes>,
    /// The caller's alone.
    threads: Threads,
    faults: Faults,
}

impl<'a> Steps<'a> {
    /// For a model of this configuration. `relative_bias` is the file's tensor of that name, empty for a model without.
    pub fn new(config: &'a Config, kernels: Kernels, relative_bias: Vec<Lanes>) -> Self {
        Self {
            config,
            kernels,
            relative_bias,
            threads: Threads::new(1).expect("one thread starts none"),
            faults: Faults::none(),
        }
    }

    fn compute(&self) -> Compute<'_> {
        Compute {
            kernels: self.kernels,
            threads: &self.threads,
            timers: None,
            faults: &self.faults,
            stage: 0,
        }
    }

    /// Embeds a text, all of token type 0; `word` gives the word embedding of its token at a place. Without a projection the
    /// residual stream has the width of the embeddings.
    ///
    /// # Panics
    /// When there is no token, or there are more than positions.
    pub fn embed(
        &self,
        embeddings: &Embeddings<'_>,
        ids: &[u32],
        word: impl Fn(usize, &mut [f32]) + Sync + Send,
    ) -> State {
        let batch = Batch::from_iter([ids]);
        let mut positions = Vec::new();
        Compute::positions(self.config, &batch, &mut positions);
        let most = self.config.hidden_size.max(self.config.embedding_width());
        let width = match embeddings.projection {
            Some(_) => self.config.hidden_size,
            None => self.config.embedding_width(),
        };
        let mut output = vec![Lanes::ZERO; ids.len() * panels_for(most)];
        let mut state = State {
            tokens: ids.len(),
            hidden: vec![Lanes::ZERO; ids.len() * panels_for(most)],
            inputs: vec![ActivationBlock::ZERO; ids.len() * most.div_ceil(BLOCK)],
            strides: (1, width.div_ceil(BLOCK)),
        };
        self.compute().embed(
            embeddings,
            self.config,
            batch.token_types(),
            &positions,
            word,
            (&mut state.hidden, &mut state.inputs, &mut output),
        );
        state.hidden.truncate(ids.len() * panels_for(width));
        state.inputs.truncate(ids.len() * width.div_ceil(BLOCK));
        state
    }

    /// Takes a text through the next product, and on to the inputs of the one behind it.
    ///
    /// # Panics
    /// When `linear` isn't of that product's shape.
    pub fn advance(&self, state: &mut State, product: Product<'_>, linear: &Linear<'_>) {
        let (compute, tokens) = (self.compute(), state.tokens);
        let panels = linear.weight.panels();
        let outputs = |inputs: &Activations<'_>| {
            let mut out = vec![Lanes::ZERO; panels * tokens];
            compute.linear(linear, 0..panels, inputs, &mut out);
            out
        };
        let blocks = |panels: usize| vec![ActivationBlock::ZERO; panels.div_ceil(VECTORS) * tokens];
        let slots = || {
            let extent = Extent::new([tokens].into_iter(), 0);
            [Mutex::new(Slot::of(self.config, &extent))]
        };
        let inputs = match product {
            Product::Qkv => {
                let qkv = outputs(&state.inputs());
                let mut contexts = blocks(attention_panels(self.config));
                let sequences = Sequences {
                    ranges: &[(0..tokens, 0..tokens)],
                    tokens,
                    rows: tokens,
                    wanted: &[],
                };
                let config = self.config;
                let mut bias = vec![0.0; RelativeBias::len(config, tokens)];
                let bias = RelativeBias::lay_out(&self.relative_bias, config, tokens, &mut bias);
                compute.attention(config, &qkv, &sequences, bias, &slots(), &mut contexts);
                contexts
            }
            Product::Up => {
                let mut inner = blocks(panels);
                let gelu = gelu(self.config.hidden_act);
                compute.linear_gelu(linear, gelu, &state.inputs(), &mut inner, &slots());
                inner
            }
            Product::AttentionOutput(norm) | Product::Down(norm) => {
                let outputs = outputs(&state.inputs());
                self.residual_norm(&mut state.hidden, &outputs, &norm)
            }
        };
        state.strides = match product {
            Product::Qkv | Product::Up => (tokens, 1),
            _ => (1, inputs.len() / tokens),
        };
        state.inputs = inputs;
    }

    /// The activation function between the products of the feed-forward part.
    pub fn activate(&self, values: &mut [Lanes]) {
        self.kernels.gelu(gelu(self.config.hidden_act), values);
    }

    /// Adds a product's outputs, panel-major, to the residual stream, and normalizes it. Returns its quantized form.
    ///
    /// # Panics
    /// When the two aren't of as many tokens.
    pub fn residual_norm(
        &self,
        hidden: &mut [Lanes],
        outputs: &[Lanes],
        norm: &Norm<'_>,
    ) -> Vec<ActivationBlock> {
        let width = self.config.hidden_size;
        let tokens = hidden.len() / panels_for(width);
        let mut inputs = vec![ActivationBlock::ZERO; tokens * width.div_ceil(BLOCK)];
        self.compute()
            .residual_norm(outputs, norm, self.config, hidden, &mut inputs);
        inputs
    }
}
