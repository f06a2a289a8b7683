//! Dividing outputs over threads.
//!
//! Work is always a mutable slice cut into chunks, one task a chunk: threads divide outputs and never a sum, so the
//! number of threads can't change a bit. One thread means no pool at all.

use rayon::prelude::*;

/// The processors that the operating system gives to this program.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Whether std can start threads: not in a WebAssembly module whose memory isn't shared.
const CAN_START: bool = cfg!(any(not(target_family = "wasm"), target_feature = "atomics"));

/// The threads that a session computes with.
#[derive(Debug)]
pub struct Threads {
    pool: Option<rayon::ThreadPool>,
}

impl Threads {
    /// `count` threads, named `rq-N`. With one, or in a WebAssembly module without shared memory, everything runs on the caller's.
    ///
    /// # Errors
    /// When the operating system refuses to start them.
    pub fn new(count: usize) -> std::io::Result<Self> {
        if count <= 1 || !CAN_START {
            return Ok(Self { pool: None });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|i| format!("rq-{i}"))
            .build()
            .map_err(std::io::Error::other)?;
        Ok(Self { pool: Some(pool) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pool
            .as_ref()
            .map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// Runs `f` so that the divisions inside it need no further hand-over.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(f),
            None => f(),
        }
    }

    /// The number of the calling thread, in 0..count.
    pub fn index(&self) -> usize {
        self.pool
            .as_ref()
            .and_then(rayon::ThreadPool::current_thread_index)
            .unwrap_or(0)
    }

    /// Cuts `data` into chunks of `size` and calls `f` with each one's number and content.
    pub fn chunks<T: Send>(
        &self,
        data: &mut [T],
        size: usize,
        f: impl Fn(usize, &mut [T]) + Sync + Send,
    ) {
        match &self.pool {
            Some(pool) if data.len() > size => {
                pool.install(|| {
                    data.par_chunks_mut(size)
                        .enumerate()
                        .with_max_len(1)
                        .for_each(|(i, chunk)| f(i, chunk));
                });
            }
            _ => data
                .chunks_mut(size)
                .enumerate()
                .for_each(|(i, chunk)| f(i, chunk)),
        }
    }

    /// Cuts two arrays alike and calls `f` with each pair of chunks.
    pub fn chunks2<T: Send, U: Send>(
        &self,
        (a, a_size): (&mut [T], usize),
        (b, b_size): (&mut [U], usize),
        f: impl Fn(usize, &mut [T], &mut [U]) + Sync + Send,
    ) {
        match &self.pool {
            Some(pool) if a.len() > a_size => pool.install(|| {
                let pairs = a.par_chunks_mut(a_size).zip(b.par_chunks_mut(b_size));
                pairs
                    .enumerate()
                    .with_max_len(1)
                    .for_each(|(i, (a, b))| f(i, a, b));
            }),
            _ => {
                let pairs = a.chunks_mut(a_size).zip(b.chunks_mut(b_size));
                pairs.enumerate().for_each(|(i, (a, b))| f(i, a, b));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_once_whatever_the_threads() {
        for count in [1, 2, 4] {
            let threads = Threads::new(count).unwrap();
            assert_eq!(threads.count(), if CAN_START { count } else { 1 });
            let (mut a, mut b) = (vec![0; 103], vec![0; 21]);
            threads.chunks2((&mut a, 5), (&mut b, 1), |i, a, b| {
                a.iter_mut().for_each(|x| *x += i + 1);
                b[0] += i + 1;
            });
            assert!(a.iter().enumerate().all(|(j, &x)| x == j / 5 + 1));
            threads.chunks(&mut b, 1, |i, b| b[0] -= i + 1);
            assert!(b.iter().all(|&x| x == 0));
        }
    }
}
