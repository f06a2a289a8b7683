//! The memory of a session: what it takes, and that it takes no more.

mod common;

/// The root of the workspace.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

use common::{convert_to, model, options, tests_path};
use rq::{Batch, Model, Rows, Session, SessionOptions};
use rq_convert::Quant;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as for this function.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn session(model: &Arc<Model>, threads: usize) -> Session {
    let threads = Some(threads);
    Session::new(Arc::clone(model), &options!(SessionOptions { threads })).unwrap()
}

/// The models of the other tests, and one with a relative bias and one with narrow embeddings.
fn models() -> [(&'static str, Arc<Model>); 4] {
    let architecture = |name| {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("model.rq");
        let source = tests_path("goldens/architectures").join(name);
        convert_to(&source, Quant::Q8, &output);
        let bytes = std::fs::read(output).unwrap();
        (name, Arc::new(Model::from_bytes(bytes).unwrap()))
    };
    let [first, second] = common::MODELS.map(|name| (name, model(name, Quant::Q8)));
    [
        first,
        second,
        architecture("mpnet-mlm"),
        architecture("electra-mlm"),
    ]
}

/// Allocations of one call, at best: on several threads the pool's queue grows now and then, by a block for some dozens of
/// calls.
fn fewest_allocations(mut call: impl FnMut()) -> usize {
    let count = |call: &mut dyn FnMut()| {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        call();
        ALLOCATIONS.load(Ordering::Relaxed) - before
    };
    (0..8).map(|_| count(&mut call)).min().unwrap()
}

// One test, so that no other allocates beside it.
#[test]
fn memory_is_what_is_stated_and_stays() {
    for (name, model) in models() {
        let config = model.config();
        let lengths = [3, 100, 1, 17];
        let ids = |length: usize| -> Vec<u32> { (0..length).map(|i| 5 + i as u32 % 15).collect() };
        let batch = Batch::from_iter(lengths.map(ids));
        let masks = [2, 50, 120];
        for threads in [1, 2] {
            let mut session = session(&model, threads);
            assert_eq!(session.held_bytes(), 0);
            session.reserve(&lengths, masks.len());
            let stated = model.session_bytes(&lengths, masks.len(), threads);
            assert_eq!(session.held_bytes(), stated, "{name}, {threads} threads");

            let mut hidden = vec![0.0; batch.ids().len() * config.hidden_size];
            let mut logits = vec![0.0; masks.len() * config.vocab_size];
            let allocations = fewest_allocations(|| {
                session
                    .hidden_states_into(&batch, Rows::All, &mut hidden)
                    .unwrap();
                session
                    .logits_into(&batch, Rows::Only(&masks), &mut logits)
                    .unwrap();
            });
            assert_eq!(allocations, 0, "{name}, {threads} threads");
            assert_eq!(session.held_bytes(), stated, "{name}, {threads} threads");
            // Less takes no more.
            session
                .hidden_states(&Batch::from_iter([ids(50)]), Rows::All)
                .unwrap();
            assert_eq!(session.held_bytes(), stated, "{name}, {threads} threads");
        }
    }
}
