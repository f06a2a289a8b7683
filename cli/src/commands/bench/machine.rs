//! What the machine is, and the most it can do: what `rq bench` compares with.

use rq_kernels::kernels::Kernels;
use rq_kernels::lanes::{LANES, Lanes};
use rq_kernels::peak;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How often each peak is measured. The best counts.
const SAMPLES: usize = 25;
/// The shortest measurement.
const SAMPLE: Duration = Duration::from_millis(5);

/// The most that some threads can do together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peaks {
    /// Operations per second on 8-bit integers: two for each multiply-add.
    pub(super) int8_ops: f64,
    /// Bytes per second, read from a buffer as large as the encoder's weights.
    pub(super) read_bytes: f64,
}

impl Peaks {
    pub(super) fn measure(kernels: Kernels, threads: usize, bytes: usize) -> Self {
        let multiply_adds = threads as u64 * peak::multiply_adds(kernels, 1);
        let multiplied = rounds_a_second(threads, |_, rounds| {
            black_box(peak::multiply_adds(kernels, rounds));
        });
        let data = vec![Lanes([1.0; LANES]); bytes.div_ceil(size_of::<Lanes>())];
        let parts: Vec<&[Lanes]> = data.chunks(data.len().div_ceil(threads)).collect();
        let read = rounds_a_second(parts.len(), |thread, rounds| {
            for _ in 0..rounds {
                black_box(peak::read(kernels, black_box(parts[thread])));
            }
        });
        Self {
            int8_ops: 2.0 * multiply_adds as f64 * multiplied,
            read_bytes: size_of_val(&data[..]) as f64 * read,
        }
    }
}

/// The most rounds of `work` that each of `threads` threads can do in a second.
fn rounds_a_second(threads: usize, work: impl Fn(usize, usize) + Sync) -> f64 {
    let mut rounds = 1;
    while fastest(threads, 1, |thread| work(thread, rounds)) < SAMPLE {
        rounds *= 2;
    }
    rounds as f64 / fastest(threads, SAMPLES, |thread| work(thread, rounds)).as_secs_f64()
}

/// The shortest time in which `threads` threads each did `work`, from the start of the first to the end of the last.
fn fastest(threads: usize, samples: usize, work: impl Fn(usize) + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let run = |thread| {
        let mut times = Vec::with_capacity(samples);
        for _ in 0..samples {
            barrier.wait();
            let start = Instant::now();
            work(thread);
            times.push((start, Instant::now()));
        }
        times
    };
    let all: Vec<Vec<(Instant, Instant)>> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|t| scope.spawn(move || run(t))).collect();
        let mut all = vec![run(0)];
        all.extend(
            others
                .into_iter()
                .map(|thread| thread.join().expect("no panic")),
        );
        all
    });
    let spans = (0..samples).map(|sample| {
        let times = all.iter().map(|times| times[sample]);
        let start = times.clone().map(|(start, _)| start).min();
        let end = times.map(|(_, end)| end).max();
        end.expect("a thread") - start.expect("a thread")
    });
    spans.min().expect("a sample")
}

/// The operating system's name of the processor.
pub(super) fn processor() -> Option<String> {
    let board = std::fs::read_to_string("/proc/device-tree/model");
    let board = board
        .map(|name| name.trim_end_matches('\0').to_owned())
        .ok();
    board.or_else(|| {
        let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    })
}

/// The processor, operating system and C library that this program was compiled for.
pub(super) fn target() -> String {
    let libc = match () {
        () if cfg!(target_env = "gnu") => "-gnu",
        () if cfg!(target_env = "musl") => "-musl",
        () if cfg!(target_env = "msvc") => "-msvc",
        () => "",
    };
    format!("{}-{}{libc}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Resets the peak resident memory, and says whether that was possible.
pub(super) fn reset_peak_resident() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The peak resident memory in bytes, including mapped files.
pub(super) fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
