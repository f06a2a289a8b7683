//! Conversion of checkpoints.

use crate::error::{ConversionError, chain, named};
use pyo3::prelude::*;
use rq_convert::{
    Calibrate, Calibration, ConvertError, ConvertOptions, DownloadProgress, Progress, Quant,
    Source, Summary, convert_source,
};
use rq_format::Head;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often Python is asked whether someone pressed Ctrl-C.
const ASKED: Duration = Duration::from_millis(100);
/// How long a conversion that is to stop may take to remove what it wrote.
const PATIENCE: Duration = Duration::from_secs(10);

const HEADS: &[(&str, Head)] = &[
    ("none", Head::None),
    ("masked_lm", Head::MaskedLm),
    ("sequence_classification", Head::SequenceClassification),
    ("token_classification", Head::TokenClassification),
    ("question_answering", Head::QuestionAnswering),
];

/// What is worked on, and how much of all of it is done, from 0 to 1.
type Step = (String, f64);

/// Tells how far the work is, and is told when to stop.
struct Told {
    steps: Sender<Step>,
    stop: Arc<AtomicBool>,
    total: AtomicU64,
    done: AtomicU64,
}

impl Told {
    fn tell(&self, part: &str, done: u64) {
        let total = self.total.load(Ordering::Relaxed).max(1);
        // Nobody listens any more when it is to stop.
        let _ = self
            .steps
            .send((part.to_owned(), done as f64 / total as f64));
    }
}

impl DownloadProgress for Told {
    fn start(&self, _repository: &str, _commit: &str, total_bytes: u64) {
        self.total.store(total_bytes, Ordering::Relaxed);
    }

    fn at(&self, file: &str, bytes: u64) {
        self.tell(file, bytes);
    }
}

impl Progress for Told {
    fn start(&self, total_work: u64) {
        self.total.store(total_work, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
    }

    fn advance(&self, part: &str, work: u64) {
        let done = self.done.fetch_add(work, Ordering::Relaxed) + work;
        self.tell(part, done);
    }

    fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

type Worker = JoinHandle<Result<Summary, ConvertError>>;

/// Converts a directory, or a model of the Hugging Face hub, to a file. Returns what there is to know of the checkpoint.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "Python's keywords")]
pub(crate) fn convert(
    py: Python<'_>,
    source: String,
    output: PathBuf,
    quant: &str,
    calibrate: Option<bool>,
    calibration_text: Option<PathBuf>,
    head: Option<&str>,
    revision: Option<String>,
    threads: usize,
    hear: Option<Bound<'_, PyAny>>,
) -> PyResult<Vec<String>> {
    let calibration = match (calibration_text, calibrate) {
        (Some(path), _) => {
            let text = Calibration::read(&path);
            Calibrate::On(text.map_err(|error| ConversionError::new_err(chain(&error)))?)
        }
        (None, Some(true)) => Calibrate::On(Calibration::english()),
        (None, Some(false)) => Calibrate::Never,
        (None, None) => Calibrate::ByRecipe,
    };
    let quants = Quant::ALL.map(|quant| (quant.name(), quant));
    let options = ConvertOptions {
        quant: named("quant", &quants, quant)?,
        head: head.map(|head| named("head", HEADS, head)).transpose()?,
        threads,
        calibration,
    };
    let (steps, told) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let progress = Told {
        steps,
        stop: Arc::clone(&stop),
        total: AtomicU64::new(0),
        done: AtomicU64::new(0),
    };
    // In a thread of its own, so that Python's signals are seen in this one.
    let worker = std::thread::spawn(move || {
        let source = Source::obtain(&source, revision.as_deref(), &progress)?;
        convert_source(&source, Path::new(&output), &options, &progress)
    });
    let told = Mutex::new(told);
    if let Err(error) = listen(py, &told, hear.as_ref()) {
        stop.store(true, Ordering::Relaxed);
        py.detach(|| wait(&worker));
        return Err(error);
    }
    let summary = py
        .detach(|| worker.join())
        .expect("a conversion doesn't panic");
    let summary = summary.map_err(|error| ConversionError::new_err(chain(&error)))?;
    Ok(summary.notes)
}

/// Passes steps on until the work is done. Fails with what Python raises meanwhile.
fn listen(
    py: Python<'_>,
    told: &Mutex<Receiver<Step>>,
    hear: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    loop {
        let step = py.detach(|| {
            let told = told.lock().expect("one thread listens");
            told.recv_timeout(ASKED)
        });
        match step {
            Ok(step) => {
                if let Some(hear) = hear {
                    hear.call1(step)?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        py.check_signals()?;
    }
}

/// Waits for the end of a conversion that was told to stop; a download is left to itself.
fn wait(worker: &Worker) {
    let begun = Instant::now();
    while !worker.is_finished() && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
}
