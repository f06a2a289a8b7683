//! Where the time of a pass goes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whether std has a clock. On wasm32-unknown-unknown, which knows of no system, `Instant::now` panics.
const CLOCK: bool = !cfg!(all(target_family = "wasm", target_os = "unknown"));

/// The time since it was started; zero where there is no clock.
pub(crate) struct Stopwatch(Option<Instant>);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(CLOCK.then(Instant::now))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.map_or(Duration::ZERO, |start| start.elapsed())
    }
}

/// A part of the work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Products,
    Attention,
    ElementWise,
    Quantization,
}

/// The times of the parts, in nanoseconds, from all threads.
#[derive(Debug, Default)]
pub(crate) struct Timers([AtomicU64; Part::Quantization as usize + 1]);

impl Timers {
    pub(crate) fn time<R>(&self, part: Part, work: impl FnOnce() -> R) -> R {
        let start = Stopwatch::start();
        let result = work();
        let nanoseconds = start.elapsed().as_nanos() as u64;
        self.0[part as usize].fetch_add(nanoseconds, Ordering::Relaxed);
        result
    }

    fn get(&self, part: Part) -> Duration {
        Duration::from_nanos(self.0[part as usize].load(Ordering::Relaxed))
    }
}

/// Where the time of a pass through the encoder went, and how long the head took.
///
/// The parts of the encoder are summed over the threads: what is missing from `encoder` times their number is waiting,
/// and the little that is in no part. To measure takes time too, which shows in short passes. On wasm32-unknown-unknown, where a
/// program has no clock, all are zero.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// The encoder, from the first embedding to the last LayerNorm.
    pub encoder: Duration,
    /// The integer products with weights.
    pub products: Duration,
    /// Scores, softmax and contexts, and the quantization of the contexts.
    pub attention: Duration,
    /// Embeddings, residual additions, LayerNorm and the activation function.
    pub element_wise: Duration,
    /// The quantization of activations, other than in attention.
    pub quantization: Duration,
    /// The language modelling head on one row: not a part of `encoder`, and not summed over threads.
    pub head: Duration,
}

impl Profile {
    pub(crate) fn new(encoder: Duration, timers: &Timers, head: Duration) -> Self {
        Self {
            encoder,
            products: timers.get(Part::Products),
            attention: timers.get(Part::Attention),
            element_wise: timers.get(Part::ElementWise),
            quantization: timers.get(Part::Quantization),
            head,
        }
    }
}

#[cfg(all(test, feature = "demo-model"))]
mod tests {
    use crate::{Batch, Model, Rows, Session, SessionOptions};
    use std::sync::Arc;

    #[test]
    fn parts_are_no_more_than_the_whole() {
        let model = Arc::new(Model::demo().unwrap());
        for threads in [1, 2] {
            let options = SessionOptions {
                threads: Some(threads),
                isa: None,
            };
            let mut session = Session::new(Arc::clone(&model), &options).unwrap();
            let batch = Batch::from_iter([[5; 20], [6; 20]]);
            let hidden = session.hidden_states(&batch, Rows::All).unwrap();
            let profile = session.profile(&batch).unwrap();
            let parts = [
                profile.products,
                profile.attention,
                profile.element_wise,
                profile.quantization,
            ];
            assert!(parts.iter().all(|part| !part.is_zero()), "{profile:?}");
            let sum: std::time::Duration = parts.iter().sum();
            assert!(sum <= profile.encoder * threads as u32, "{profile:?}");
            assert!(!profile.head.is_zero());
            assert_eq!(session.hidden_states(&batch, Rows::All).unwrap(), hidden);
        }
    }
}
