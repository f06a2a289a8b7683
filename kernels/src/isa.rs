//! Instruction sets by name. Which of them this machine has, [`crate::kernels`] finds out.

use std::fmt;
use std::str::FromStr;

/// The environment variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "RQ_ISA";

macro_rules! isa {
    ($($(#[$doc:meta])* $Tier:ident, $name:ident, $arch:meta, $Simd:ident, [$($feature:tt),*];)*) => {
        /// An instruction set for which there are kernels, whether or not this build has them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Isa {
            $($(#[$doc])* $Tier,)*
        }

        impl Isa {
            /// Every instruction set, the most capable of each architecture last.
            pub const ALL: [Self; [$(Self::$Tier),*].len()] = [$(Self::$Tier),*];

            /// The name for `--isa` and `RQ_ISA`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Tier => stringify!($name),)*
                }
            }

            /// What its kernels need of the processor, by the names that Rust gives these features.
            pub const fn features(self) -> &'static [&'static str] {
                match self {
                    $(Self::$Tier => &[$($feature),*],)*
                }
            }
        }
    };
}
for_each_tier!(isa);

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
