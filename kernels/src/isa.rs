//! Instruction sets: their names, and which of them this machine has.

use std::fmt;
use std::str::FromStr;

/// The environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "RQ_ISA";

/// An instruction set for which kernels are, or will be, written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust: the oracle, and the fallback.
    Scalar,
    /// AVX2 with FMA and F16C: x86 since 2013 (Intel) and 2015 (AMD).
    Avx2,
    /// AVX2 with the int8 dot product in 256 bits: Alder Lake and later, Zen 5.
    AvxVnni,
    /// AVX-512 with its int8 dot product.
    Avx512Vnni,
    /// Armv8.0's vectors, without an int8 dot product: Cortex-A53 and A72 (Raspberry Pi 3 and 4).
    Neon,
    /// NEON with the int8 dot product `sdot`: Cortex-A76 (Raspberry Pi 5), Apple M1, phones since 2018.
    Dotprod,
    /// NEON with the int8 matrix product `smmla`: Neoverse V1 and N2, Apple since M2 and A15, phones since 2021.
    I8mm,
}

impl Isa {
    /// Every instruction set, the most capable of each architecture last.
    pub const ALL: [Self; 7] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512Vnni,
        Self::Neon,
        Self::Dotprod,
        Self::I8mm,
    ];

    /// The name for `--isa` and `RQ_ISA`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512Vnni => "avx512vnni",
            Self::Neon => "neon",
            Self::Dotprod => "dotprod",
            Self::I8mm => "i8mm",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that isn't an instruction set's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown instruction set {0:?}; known are {names}", names = Isa::ALL.map(Isa::name).join(", "))]
pub struct UnknownIsa(pub String);

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(s: &str) -> Result<Self, UnknownIsa> {
        Self::ALL
            .into_iter()
            .find(|isa| isa.name() == s)
            .ok_or_else(|| UnknownIsa(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        let message = "sse9".parse::<Isa>().unwrap_err().to_string();
        assert!(
            message.contains("avx512vnni") && message.contains("sse9"),
            "{message}"
        );
    }
}
