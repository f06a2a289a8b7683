//! What the kernel tests share: which instruction sets to test, and seeded data.

use rq_kernels::isa::Isa;
use rq_kernels::kernels::{Kernels, kernels};
use rq_kernels::lanes::{LANES, Lanes};

/// The variable that names the instruction sets which must not be skipped.
const REQUIRE: &str = "RQ_REQUIRE_ISA";

/// The kernels to compare with the scalar ones. A set that this machine lacks is skipped loudly; one that
/// `RQ_REQUIRE_ISA` names must be there.
pub(crate) fn tiers() -> Vec<Kernels> {
    let required: Vec<Isa> = std::env::var(REQUIRE)
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.parse().unwrap_or_else(|e| panic!("{REQUIRE}: {e}")))
        .collect();
    let mut found = Vec::new();
    for isa in Isa::ALL {
        match kernels(isa) {
            Ok(kernels) => found.push(kernels),
            Err(e) if required.contains(&isa) => panic!("{REQUIRE} names {isa}: {e}"),
            Err(e) => eprintln!("SKIP {isa}: {e}"),
        }
    }
    found
}

/// A small generator (SplitMix64), so that every machine sees the same data.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub(crate) fn floats(&mut self, n: usize, size: f32) -> Vec<f32> {
        (0..n).map(|_| self.unit() * size).collect()
    }

    pub(crate) fn lanes(&mut self, n: usize, size: f32) -> Vec<Lanes> {
        (0..n)
            .map(|_| Lanes(std::array::from_fn(|_| self.unit() * size)))
            .collect()
    }
}

/// The bits of the lanes, for comparisons that know NaN and the sign of zero.
pub(crate) fn bits(lanes: &[Lanes]) -> Vec<[u32; LANES]> {
    lanes.iter().map(|l| l.0.map(f32::to_bits)).collect()
}
