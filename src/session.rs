//! A session: the threads, the instruction set and the memory with which a model computes.

use crate::batch::{Batch, ROWS_AT_ONCE};
use crate::encoder::weights::{Encoder, Head};
use crate::encoder::workspace::{Extent, Workspace};
use crate::encoder::{Compute, Faults, Rows};
use crate::error::{Error, Stage};
use crate::model::Model;
use crate::profile::{Profile, Stopwatch, Timers};
use crate::tasks::not_zero;
use rq_kernels::isa::{ISA_VARIABLE, Isa};
use rq_kernels::kernels::{self, Kernels};
use rq_kernels::lanes::{LANES, Lanes, as_floats, panels_for};
use rq_kernels::threads::{Threads, processors};
use self_cell::self_cell;
use std::ops::Range;
use std::sync::Arc;

/// The most threads that a session starts: far beyond what helps, far below what a system refuses.
pub const MAX_THREADS: usize = 1024;

/// How a session computes. None of it changes an answer.
///
/// ```
/// let mut options = rq::SessionOptions::default();
/// options.threads = Some(2);
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Threads, from 1 to [`MAX_THREADS`]; the number of processors by default. One means that no thread is started.
    pub threads: Option<usize>,
    /// The instruction set; by default the one that `RQ_ISA` names, or else the best that the machine has.
    pub isa: Option<Isa>,
}

impl SessionOptions {
    /// The instruction set that a session would compute with.
    ///
    /// # Errors
    /// When the one that is asked for isn't available.
    pub fn chosen_isa(&self) -> Result<Isa, Error> {
        Ok(self.kernels()?.isa())
    }

    fn kernels(&self) -> Result<Kernels, Error> {
        Ok(match (self.isa, std::env::var(ISA_VARIABLE)) {
            (Some(isa), _) => kernels::kernels(isa)?,
            (None, Ok(name)) if !name.is_empty() => kernels::kernels(name.parse()?)?,
            _ => kernels::best(),
        })
    }
}

/// The number of this process. In WebAssembly there is one, which std panics to be asked for.
fn process() -> u32 {
    if cfg!(target_family = "wasm") {
        0
    } else {
        std::process::id()
    }
}

/// The weights of a model, found by name once.
#[derive(Debug)]
struct Weights<'m> {
    encoder: Encoder<'m>,
    head: Head<'m>,
}

self_cell!(
    /// A model, and its weights, which are views of its file.
    struct Loaded {
        owner: Arc<Model>,
        #[covariant]
        dependent: Weights,
    }
);

/// Computes with a model, one call at a time. It owns the threads and the memory for that.
///
/// A process that forks takes no threads along: make a session in each, of a model that all of them share. One with a single thread
/// works on both sides.
///
/// Tasks such as [`FillMask`](crate::FillMask) take a session, or borrow one.
pub struct Session {
    loaded: Loaded,
    kernels: Kernels,
    threads: Threads,
    workspace: Workspace,
    /// Of the last pass.
    faults: Faults,
    /// The process that has the threads.
    process: u32,
}

impl Session {
    /// Starts the threads. Memory is taken as texts ask for it.
    ///
    /// `model` is a [`Model`], or an `Arc` of one that several sessions share.
    ///
    /// # Errors
    /// When the instruction set isn't available, or the threads can't be started.
    pub fn new(model: impl Into<Arc<Model>>, options: &SessionOptions) -> Result<Self, Error> {
        let kernels = options.kernels()?;
        let count = options
            .threads
            .unwrap_or_else(|| processors().min(MAX_THREADS));
        not_zero("threads", count)?;
        if count > MAX_THREADS {
            return Err(Error::TooManyThreads { count });
        }
        let threads = Threads::new(count).map_err(|source| Error::Threads { count, source })?;
        let loaded = Loaded::try_new(model.into(), |model| {
            Ok::<_, Error>(Weights {
                encoder: Encoder::find(model.file())?,
                head: Head::find(model.file())?,
            })
        })?;
        Ok(Self {
            loaded,
            kernels,
            workspace: Workspace::new(threads.count()),
            threads,
            faults: Faults::none(),
            process: process(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        self.loaded.borrow_owner()
    }

    /// The instruction set that computes.
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    /// The threads that compute.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// The last hidden states of the wanted rows of a batch: `rows` x hidden_size floats, row after row.
    ///
    /// # Errors
    /// When a token isn't in the vocabulary, a token type not in its table, a sequence has no tokens or more than the model takes,
    /// or the model computes what isn't finite.
    ///
    /// # Panics
    /// When the wanted rows aren't ascending rows of the batch.
    pub fn hidden_states(&mut self, batch: &Batch, rows: Rows<'_>) -> Result<Vec<f32>, Error> {
        let mut out = vec![0.0; rows.count(batch) * self.model().config().hidden_size];
        self.hidden_states_into(batch, rows, &mut out)?;
        Ok(out)
    }

    /// As [`Session::hidden_states`], into memory of the caller. Once the session has computed as large a batch, or
    /// [reserved](Session::reserve) memory for it, nothing is allocated.
    ///
    /// # Errors
    /// As [`Session::hidden_states`].
    ///
    /// # Panics
    /// As [`Session::hidden_states`], and when `out` isn't as long as the result.
    pub fn hidden_states_into(
        &mut self,
        batch: &Batch,
        rows: Rows<'_>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let hidden_size = self.model().config().hidden_size;
        assert_eq!(
            out.len(),
            rows.count(batch) * hidden_size,
            "floats of the result"
        );
        self.encode(batch, rows, 0, None)?;
        let rows = self.workspace.hidden.chunks(panels_for(hidden_size));
        for (out, row) in out.chunks_exact_mut(hidden_size).zip(rows) {
            out.copy_from_slice(&as_floats(row)[..hidden_size]);
        }
        Ok(())
    }

    /// The logits that the model's head gives for the wanted rows of a batch: `rows` x
    /// [`outputs`](rq_format::Config::outputs) floats, row after row. A sequence classifier's rows are the
    /// [first ones](Batch::first_rows) of the sequences.
    ///
    /// # Errors
    /// As [`Session::hidden_states`], and when the model has no head.
    ///
    /// # Panics
    /// As [`Session::hidden_states`].
    pub fn logits(&mut self, batch: &Batch, rows: Rows<'_>) -> Result<Vec<f32>, Error> {
        let mut out = vec![0.0; rows.count(batch) * self.model().config().outputs()];
        self.logits_into(batch, rows, &mut out)?;
        Ok(out)
    }

    /// As [`Session::logits`], into memory of the caller, and like [`Session::hidden_states_into`] without allocations.
    ///
    /// # Errors
    /// As [`Session::logits`].
    ///
    /// # Panics
    /// As [`Session::hidden_states_into`].
    pub fn logits_into(
        &mut self,
        batch: &Batch,
        rows: Rows<'_>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let outputs = self.model().config().outputs();
        assert_eq!(
            out.len(),
            rows.count(batch) * outputs,
            "floats of the result"
        );
        self.each_tile(batch, rows, usize::MAX, |_, rows, logits| {
            for (row, out) in out.chunks_exact_mut(outputs).enumerate() {
                let panels = logits[row..].iter().step_by(rows.len());
                for (out, lanes) in out.chunks_mut(LANES).zip(panels) {
                    out.copy_from_slice(&lanes.0[..out.len()]);
                }
            }
        })
    }

    /// Takes the memory for sequences of these lengths, computed together, with the logits of so many of their rows. A length
    /// beyond what the model takes counts as the most that it takes, and more rows than tokens as all.
    pub fn reserve(&mut self, lengths: &[usize], logits: usize) {
        let config = self.loaded.borrow_owner().config();
        let extent = Extent::within(config, lengths, logits);
        self.workspace.reserve(config, &extent);
    }

    /// Bytes of memory that the session holds, beside the model's file and the stacks of its threads.
    /// [`Model::session_bytes`] tells them beforehand.
    pub fn held_bytes(&self) -> usize {
        self.workspace.held()
    }

    /// The softmax of the logits at the wanted rows of a batch, one row after the other to `f`.
    pub(crate) fn probabilities(
        &mut self,
        batch: &Batch,
        rows: &[usize],
        mut f: impl FnMut(&[f32]) + Send,
    ) -> Result<(), Error> {
        let outputs = self.model().config().outputs();
        self.each_row(batch, rows, |kernels, row_logits| {
            let mut inverse_sum = [0.0];
            kernels.softmax(row_logits, outputs, 1.0, &mut inverse_sum);
            for lanes in &mut *row_logits {
                let scaled: [f32; LANES] = lanes.0.map(|x| x * inverse_sum[0]);
                lanes.0 = scaled;
            }
            f(&as_floats(row_logits)[..outputs]);
        })
    }

    /// The logits at the wanted rows of a batch, one row after the other to `f`, so that they are never held twice.
    pub(crate) fn each_logits(
        &mut self,
        batch: &Batch,
        rows: &[usize],
        mut f: impl FnMut(&[f32]) + Send,
    ) -> Result<(), Error> {
        let outputs = self.model().config().outputs();
        self.each_row(batch, rows, |_, row_logits| {
            f(&as_floats(row_logits)[..outputs]);
        })
    }

    /// The logits at the wanted rows of a batch, those of at most `tile` rows at a time to `f`, panel-major, with the wanted rows
    /// that they are of, counted from 0: memory holds no others.
    pub(crate) fn each_tile(
        &mut self,
        batch: &Batch,
        rows: Rows<'_>,
        tile: usize,
        mut f: impl FnMut(Kernels, Range<usize>, &[Lanes]) + Send,
    ) -> Result<(), Error> {
        if self.model().config().head == rq_format::Head::None {
            return Err(Error::NoHead);
        }
        let rows = self.encode(batch, rows, rows.count(batch).min(tile), None)?;
        let kernels = self.kernels;
        self.head(batch, (rows, tile), |rows, logits| f(kernels, rows, logits))
    }

    /// Gathers the logits of one wanted row after the other.
    fn each_row(
        &mut self,
        batch: &Batch,
        rows: &[usize],
        mut f: impl FnMut(Kernels, &mut [Lanes]) + Send,
    ) -> Result<(), Error> {
        let mut of_row = vec![Lanes::ZERO; panels_for(self.model().config().outputs())];
        let rows = Rows::Only(rows);
        self.each_tile(batch, rows, ROWS_AT_ONCE, |kernels, rows, logits| {
            for row in 0..rows.len() {
                let panels = logits[row..].iter().step_by(rows.len());
                for (to, from) in of_row.iter_mut().zip(panels) {
                    *to = *from;
                }
                f(kernels, &mut of_row);
            }
        })
    }

    /// Computes the hidden states of a batch, and the logits of its first row, and tells where the time went.
    ///
    /// # Errors
    /// As [`Session::hidden_states`].
    pub fn profile(&mut self, batch: &Batch) -> Result<Profile, Error> {
        let timers = Timers::default();
        let start = Stopwatch::start();
        let count = self.encode(batch, Rows::All, 1, Some(&timers))?;
        let encoder = start.elapsed();
        let start = Stopwatch::start();
        self.head(batch, (count.min(1), 1), |_, _| ())?;
        Ok(Profile::new(encoder, &timers, start.elapsed()))
    }

    /// Computes with the head what [`Compute::head`] does, of the batch that was encoded.
    fn head(
        &mut self,
        batch: &Batch,
        (rows, tile): (usize, usize),
        f: impl FnMut(Range<usize>, &[Lanes]) + Send,
    ) -> Result<(), Error> {
        if rows == 0 {
            return Ok(());
        }
        let config = self.loaded.borrow_owner().config();
        let compute = Compute {
            kernels: self.kernels,
            threads: &self.threads,
            timers: None,
            faults: &self.faults,
            stage: config.num_hidden_layers + 1,
        };
        let (head, workspace) = (&self.loaded.borrow_dependent().head, &mut self.workspace);
        self.threads
            .run(|| compute.head(head, config, (rows, tile), workspace, f));
        self.check(batch)
    }

    fn encode(
        &mut self,
        batch: &Batch,
        rows: Rows<'_>,
        logits: usize,
        timers: Option<&Timers>,
    ) -> Result<usize, Error> {
        // A fork has the caller's thread, and none of the pool's: it would wait for ever.
        if self.threads.count() > 1 && process() != self.process {
            return Err(Error::Forked);
        }
        let mut sequences = batch.sequences();
        if let Some(sequence) = sequences.position(|rows| rows.is_empty()) {
            return Err(Error::EmptySequence { sequence });
        }
        let config = self.loaded.borrow_owner().config();
        let vocab_size = config.vocab_size;
        if let Some(&token) = batch.ids().iter().find(|&&id| id as usize >= vocab_size) {
            return Err(Error::TokenRange { token, vocab_size });
        }
        // A model without token types takes the type 0, as one that has no other.
        let type_vocab_size = config.type_vocab_size.max(1);
        if let Some(&token_type) = batch
            .token_types()
            .iter()
            .find(|&&t| t as usize >= type_vocab_size)
        {
            return Err(Error::TokenType {
                token_type,
                type_vocab_size,
            });
        }
        let limit = config.max_tokens();
        if let Some(tokens) = batch.sequences().map(|s| s.len()).find(|&len| len > limit) {
            return Err(Error::TooLong { tokens, limit });
        }
        if let Rows::Only(rows) = rows {
            let ascending = rows.windows(2).all(|w| w[0] < w[1]);
            assert!(
                ascending && rows.last().is_none_or(|&r| r < batch.ids().len()),
                "ascending rows of the batch"
            );
        }
        self.faults = Faults::none();
        let compute = Compute {
            kernels: self.kernels,
            threads: &self.threads,
            timers,
            faults: &self.faults,
            stage: 0,
        };
        let extent = Extent::new(batch.sequences().map(|s| s.len()), logits);
        self.workspace.reserve(config, &extent);
        let encoder = &self.loaded.borrow_dependent().encoder;
        let workspace = &mut self.workspace;
        let count = self
            .threads
            .run(|| compute.encode(encoder, config, batch, rows, workspace));
        self.check(batch)?;
        Ok(count)
    }

    /// Refuses what was computed of a batch if some of it isn't finite.
    fn check(&self, batch: &Batch) -> Result<(), Error> {
        let Some((stage, row)) = self.faults.first() else {
            return Ok(());
        };
        let layers = self.model().config().num_hidden_layers;
        // From the last layer on, rows are those that are wanted.
        let row = match stage >= layers {
            true => self.workspace.rows[row],
            false => row,
        };
        let sequences = batch.first_rows();
        let sequence = sequences.partition_point(|&first| first <= row) - 1;
        Err(Error::NotFinite {
            stage: match stage {
                0 => Stage::Embeddings,
                layer if layer <= layers => Stage::Layer(layer),
                _ => Stage::Head,
            },
            sequence,
            token: row - sequences[sequence],
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("isa", &self.isa())
            .field("threads", &self.threads())
            .finish_non_exhaustive()
    }
}
