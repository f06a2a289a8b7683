//! A tile of AVX2 or AVX-VNNI, in assembly.
//!
//! Sixteen registers don't hold both the dot products and the sums of enough tokens. Here they hold the dot products, and
//! the sums are in memory, where the last multiply-add finds them. With intrinsics the compiler moves both back and forth,
//! and takes a tenth to a fifth longer.

/// Adds the products of a block with some tokens to their sums, as [`super::Block::add`] is defined.
///
/// - `groups` points to the bytes of the block in the form that the tier multiplies, `scales` is its `RowScales`, and `sums`
///   points to the first token's, which are `stride` bytes before the next token's.
/// - `start!(token, low, high)` is the assembly that starts a token's dot products with rows 0 to 7 and 8 to 15.
/// - `multiply` has an offset into the codes of a token for each of its steps, the assembly that loads what all tokens
///   share, and `multiply!(token, low, high)`, what adds a step to a token's dot products. There `\\j` is the offset. Of the
///   registers it has those that no token has.
/// - `operands` are further ones, for these.
/// - A token is its number, a name for its operand, and the numbers of its two registers, which are below 12.
macro_rules! add_to_sums {
    (
        groups: $groups:expr,
        scales: $scales:expr,
        sums: $sums:expr,
        stride: $stride:expr,
        start: $start:ident,
        multiply: ($steps:literal, $load:literal, $multiply:ident),
        operands: {$($operands:tt)*},
        acts: $acts:ident,
        $($n:literal $x:ident $low:literal $high:literal),+ $(,)?
    ) => {
        asm!(
            $($start!($x, $low, $high),)+
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
            scales = in(reg) &raw const $scales.scales,
            starts = in(reg) &raw const $scales.start,
            $($x = in(reg) &raw const *$acts[$n],)+
            sums = in(reg) $sums,
            stride = const $stride,
            scale = const ActivationBlock::SCALE,
            start = const ActivationBlock::START,
            $($operands)*
            out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _, out("ymm5") _,
            out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _, out("ymm10") _, out("ymm11") _,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack, preserves_flags)
        )
    };
}
pub(super) use add_to_sums;
