//! What the machine is, and what it could do at most: the yardsticks of `rq bench`.

use rq_kernels::kernels::Kernels;
use rq_kernels::lanes::{LANES, Lanes};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How often each peak is measured; the best counts.
const SAMPLES: usize = 25;
/// How long one measurement takes at least.
const SAMPLE: Duration = Duration::from_millis(5);

/// The most that some threads reached together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peaks {
    /// Operations a second on 8-bit integers: two for each multiply-add.
    pub(super) int8_ops: f64,
    /// Bytes a second from a buffer as large as the encoder's weights.
    pub(super) read_bytes: f64,
}

impl Peaks {
    pub(super) fn measure(kernels: &dyn Kernels, threads: usize, bytes: usize) -> Self {
        let multiply_adds = threads as u64 * kernels.multiply_adds(1);
        let multiplied = rounds_a_second(threads, |_, rounds| {
            black_box(kernels.multiply_adds(rounds));
        });
        let data = vec![Lanes([1.0; LANES]); bytes.div_ceil(size_of::<Lanes>())];
        let parts: Vec<&[Lanes]> = data.chunks(data.len().div_ceil(threads)).collect();
        let read = rounds_a_second(parts.len(), |thread, rounds| {
            for _ in 0..rounds {
                black_box(kernels.read(black_box(parts[thread])));
            }
        });
        Self {
            int8_ops: 2.0 * multiply_adds as f64 * multiplied,
            read_bytes: size_of_val(&data[..]) as f64 * read,
        }
    }
}

/// How many rounds of `work` each of `threads` threads does in a second, at most.
fn rounds_a_second(threads: usize, work: impl Fn(usize, usize) + Sync) -> f64 {
    let mut rounds = 1;
    while fastest(threads, 1, |thread| work(thread, rounds)) < SAMPLE {
        rounds *= 2;
    }
    rounds as f64 / fastest(threads, SAMPLES, |thread| work(thread, rounds)).as_secs_f64()
}

/// The shortest time that `threads` threads took, from the first one's start to the last one's end, to do `work` each.
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

/// The processor, as the operating system calls it.
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

/// What to call the machine.
pub(super) fn name() -> String {
    processor().unwrap_or_else(|| "unknown processor".to_owned())
}

/// Processor, operating system and C library that this program was compiled for.
pub(super) fn target() -> String {
    let libc = match () {
        () if cfg!(target_env = "gnu") => "-gnu",
        () if cfg!(target_env = "musl") => "-musl",
        () if cfg!(target_env = "msvc") => "-msvc",
        () => "",
    };
    format!("{}-{}{libc}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Forgets how much memory was resident at most. Where that isn't possible, [`peak_resident`] gives nothing.
pub(super) fn reset_peak_resident() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most memory that was resident, mapped files included, in bytes.
pub(super) fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
