//! A tile of AVX2 or AVX-VNNI, in assembly.
//!
//! Sixteen registers hold the dot products of a block, and the operands; the sums are in memory, where the last multiply-add
//! finds them. With intrinsics the compiler moves both back and forth, and takes a tenth to a fifth longer.

/// One block of one panel with some tokens, each its number, a name for its operand, and the numbers of its registers: the
/// first two are of its dot products with rows 0 to 7 and 8 to 15. Given are the `scales` of the rows, what the tokens are
/// multiplied with (`acts`), `sums`, and a tier's own part:
///
/// - `weights`: a pointer to what is multiplied. `steps`: where an index ends, which starts at 0.
/// - `start!(name, registers)`: assembly that sets the registers of a token.
/// - `step!(name registers, ...)`: assembly for a step of all tokens, which moves `{weights}` and the index, `{i}`, on. Of the
///   registers it has those that no token has.
/// - `scale`: where a token's scale is, in bytes. `operands`: further ones.
///
/// The sums of a token are 64 bytes behind those of the one before.
macro_rules! tile {
    (
        {
            weights: $weights:expr,
            steps: $steps:expr,
            start: $start:ident,
            step: $step:ident,
            scale: $scale:expr,
            operands: {$($operands:tt)*},
        },
        $scales:expr, $acts:expr, $sums:expr,
        $($n:literal $x:ident ($low:literal $high:literal $($more:literal)*)),+
    ) => {
        asm!(
            $($start!($x $low $high $($more)*),)+
            "2:",
            $step!($($x ($low $high $($more)*)),+),
            "cmp {i}, {steps}",
            "jb 2b",
            "vmovaps ymm12, [{scales}]",
            "vmovaps ymm13, [{scales} + 32]",
            $(
                concat!("vbroadcastss ymm14, [{", stringify!($x), "} + {scale}]"),
                concat!("vfmadd213ps ymm", $low, ", ymm12, [{scales} + {starts}]"),
                concat!("vfmadd213ps ymm", $high, ", ymm13, [{scales} + {starts} + 32]"),
                concat!("vfmadd213ps ymm", $low, ", ymm14, [{sums} + 64 * ", $n, "]"),
                concat!("vfmadd213ps ymm", $high, ", ymm14, [{sums} + 64 * ", $n, " + 32]"),
                concat!("vmovaps [{sums} + 64 * ", $n, "], ymm", $low),
                concat!("vmovaps [{sums} + 64 * ", $n, " + 32], ymm", $high),
            )+
            weights = inout(reg) $weights => _,
            i = inout(reg) 0usize => _,
            steps = in(reg) $steps,
            scales = in(reg) &raw const *$scales,
            $($x = in(reg) &raw const *$acts[$n],)+
            sums = in(reg) $sums,
            starts = const std::mem::offset_of!(RowScales<Avx2>, start),
            scale = const $scale,
            $($operands)*
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack)
        )
    };
}

/// [`tile!`] for N tokens, at most six, with registers 0 to 11 for their dot products.
macro_rules! tile_of {
    ($N:ident, $($arguments:tt)*) => {
        match $N {
            1 => tile!($($arguments)*, 0 a (0 1)),
            2 => tile!($($arguments)*, 0 a (0 1), 1 b (2 3)),
            3 => tile!($($arguments)*, 0 a (0 1), 1 b (2 3), 2 c (4 5)),
            4 => tile!($($arguments)*, 0 a (0 1), 1 b (2 3), 2 c (4 5), 3 d (6 7)),
            5 => tile!($($arguments)*, 0 a (0 1), 1 b (2 3), 2 c (4 5), 3 d (6 7), 4 e (8 9)),
            6 => tile!(
                $($arguments)*, 0 a (0 1), 1 b (2 3), 2 c (4 5), 3 d (6 7), 4 e (8 9), 5 f (10 11)
            ),
            _ => unreachable!("at most TOKENS"),
        }
    };
}

/// A token's dot products with code + 128 begin at its [`start`](crate::activation::ActivationBlock), an offset in bytes.
#[rustfmt::skip]
macro_rules! start {
    ($x:ident $low:literal $high:literal) => {
        concat!(
            "vpbroadcastd ymm", $low, ", [{", stringify!($x), "} + {start}]\n",
            "vmovdqa ymm", $high, ", ymm", $low,
        )
    };
}
pub(super) use {start, tile, tile_of};
