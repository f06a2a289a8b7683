//! A tile of AVX2 or AVX-VNNI, in assembly.
//!
//! Sixteen registers don't hold both the dot products and the sums of enough tokens. Here they hold the dot products, and
//! the sums are in memory, where the last multiply-add finds them. With intrinsics the compiler moves both back and forth,
//! and takes a tenth to a fifth longer.

/// [`crate::matmul::Block::add`], given its arguments and a tier's own part:
///
/// - `groups`: a name for a block, and where the bytes are that the tier multiplies.
/// - `start!(low)`: assembly for a token's start, which is in each lane of a register.
/// - `multiply`: an offset into the codes of a token for each step, the assembly that loads what all tokens share, and
///   `multiply!(token, low, high)`, what adds a step to a token's dot products with rows 0 to 7 and 8 to 15. There `\\j` is
///   the offset. Of the registers it has those that no token has.
/// - `operands`: further ones, for these.
///
/// The tier's `TOKENS` says for how many tokens it leaves registers; what is written here for more is never reached.
macro_rules! add_to_sums {
    ($blocks:ident, $acts:ident, $sums:ident, $tokens:ident, $panels:ident, $tier:tt) => {
        for p in 0..$panels {
            let sums = $sums.as_mut_ptr().cast::<Sums<Self>>().wrapping_add(p);
            match $tokens {
                1 => tile!($tier, $blocks[p], $acts, sums, $panels, 0 a 0 1),
                2 => tile!($tier, $blocks[p], $acts, sums, $panels, 0 a 0 1, 1 b 2 3),
                3 => tile!($tier, $blocks[p], $acts, sums, $panels, 0 a 0 1, 1 b 2 3, 2 c 4 5),
                4 => tile!(
                    $tier, $blocks[p], $acts, sums, $panels, 0 a 0 1, 1 b 2 3, 2 c 4 5, 3 d 6 7
                ),
                5 => tile!(
                    $tier, $blocks[p], $acts, sums, $panels, 0 a 0 1, 1 b 2 3, 2 c 4 5, 3 d 6 7, 4 e 8 9
                ),
                6 => tile!(
                    $tier, $blocks[p], $acts, sums, $panels,
                    0 a 0 1, 1 b 2 3, 2 c 4 5, 3 d 6 7, 4 e 8 9, 5 f 10 11
                ),
                _ => unreachable!("at most TOKENS"),
            }
        }
    };
}

/// One block with some tokens. A token is its number, a name for its operand, and the numbers of its two registers. `sums` are
/// the first token's, and each token's are `panels` vectors behind those of the token before.
macro_rules! tile {
    (
        {
            groups: $name:ident => $groups:expr,
            start: $start:ident,
            multiply: ($steps:literal, $load:literal, $multiply:ident),
            operands: {$($operands:tt)*},
        },
        $block:expr, $acts:ident, $sums:ident, $panels:ident,
        $($n:literal $x:ident $low:literal $high:literal),+
    ) => {{
        let $name = $block;
        asm!(
            $(
                concat!("vpbroadcastd ymm", $low, ", [{", stringify!($x), "} + {start}]"),
                $start!($low),
                concat!("vmovdqa ymm", $high, ", ymm", $low),
            )+
            concat!(".irp j, ", $steps),
            $load,
            $($multiply!($x, $low, $high),)+
            ".endr",
            "vmovaps ymm12, [{scales}]",
            "vmovaps ymm13, [{scales} + 32]",
            $(
                concat!("vbroadcastss ymm14, [{", stringify!($x), "} + {scale}]"),
                concat!("vfmadd213ps ymm", $low, ", ymm12, [{starts}]"),
                concat!("vfmadd213ps ymm", $high, ", ymm13, [{starts} + 32]"),
                concat!("vfmadd213ps ymm", $low, ", ymm14, [{sums} + {stride} * ", $n, "]"),
                concat!("vfmadd213ps ymm", $high, ", ymm14, [{sums} + {stride} * ", $n, " + 32]"),
                concat!("vmovaps [{sums} + {stride} * ", $n, "], ymm", $low),
                concat!("vmovaps [{sums} + {stride} * ", $n, " + 32], ymm", $high),
            )+
            groups = in(reg) $groups,
            scales = in(reg) &raw const $name.scales.scales,
            starts = in(reg) &raw const $name.scales.start,
            $($x = in(reg) &raw const *$acts[$n],)+
            sums = in(reg) $sums,
            stride = const $panels * size_of::<Sums<Self>>(),
            scale = const ActivationBlock::SCALE,
            start = const ActivationBlock::START,
            $($operands)*
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack, preserves_flags)
        )
    }};
}
pub(super) use {add_to_sums, tile};
