//! The virtual vector of 16 lanes, as registers.
//!
//! Float kernels are written once over [`F32x16`]; a tier implements its registers, 1 x 16, 2 x 8 or 4 x 4 lanes, or arrays.
//! Every operation is exactly defined (IEEE 754, or by comparison and selection), so all tiers give the same bits.
//! There are no estimates and no library functions here.
//!
//! A vector is made with the token of its instruction set and carries it, so its arithmetic is safe.

use crate::BLOCK;
use crate::activation::pairs;
use crate::lanes::{LANES, Lanes};
use crate::packed::SUB_BLOCKS;
use bytemuck::Pod;
use half::f16;

/// A token whose instruction set has registers of floats.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// A register.
    type Register: Pod;
    /// The registers of 16 lanes.
    type Registers: Registers<Self::Register>;
    /// How many of the processor's registers these are.
    const COUNT: usize = size_of::<Self::Registers>() / size_of::<Self::Register>();

    // The operations of [`F32x16`] by the same names. On a register:
    fn splat_register(self, x: f32) -> Self::Register;
    fn add(self, a: Self::Register, b: Self::Register) -> Self::Register;
    fn sub(self, a: Self::Register, b: Self::Register) -> Self::Register;
    fn mul(self, a: Self::Register, b: Self::Register) -> Self::Register;
    fn div(self, a: Self::Register, b: Self::Register) -> Self::Register;
    fn mul_add(self, a: Self::Register, b: Self::Register, c: Self::Register) -> Self::Register;
    fn max(self, a: Self::Register, b: Self::Register) -> Self::Register;
    fn min(self, a: Self::Register, b: Self::Register) -> Self::Register;
    fn abs(self, x: Self::Register) -> Self::Register;
    fn max_bits(self, a: Self::Register, b: Self::Register) -> Self::Register;
    fn round(self, x: Self::Register) -> Self::Register;
    fn rough_reciprocal(self, x: Self::Register) -> Self::Register;
    fn exp2_integer(self, n: Self::Register) -> Self::Register;
    fn select_gt(
        self,
        a: Self::Register,
        b: Self::Register,
        yes: Self::Register,
        no: Self::Register,
    ) -> Self::Register;

    // On all registers of a vector:
    fn widen_f16(self, lanes: &[f16; LANES]) -> Self::Registers;
    fn to_i8(self, low: Self::Registers, high: Self::Registers) -> [i8; 2 * LANES];
    fn hadamard(self, x: Self::Registers) -> Self::Registers;
    fn sum(self, x: Self::Registers) -> f32;
    fn largest(self, x: Self::Registers) -> f32;
    fn largest_bits(self, x: Self::Registers) -> f32;

    /// For each of N rows and P panels of as many columns: sums + a[0] * b[0] + a[1] * b[1] + ..., by multiply-adds.
    #[inline(always)]
    fn add_products<const N: usize, const P: usize>(
        self,
        a: &[Lanes; N],
        b: [&[Lanes]; P],
        sums: &mut [[F32x16<Self>; P]; N],
    ) {
        for k in 0..b[0].len() {
            for p in 0..P {
                let b = self.load(&b[p][k]);
                for n in 0..N {
                    sums[n][p] = self.splat(a[n].0[k]).mul_add(b, sums[n][p]);
                }
            }
        }
    }

    /// Horner's rule, highest coefficient first. No step may have a result below 2^-126 in size.
    #[inline(always)]
    fn polynomial<const N: usize>(
        self,
        x: Self::Registers,
        coefficients: [f32; N],
    ) -> Self::Registers {
        let x = F32x16::new(self, x);
        let mut y = self.splat(coefficients[0]);
        for &c in &coefficients[1..] {
            y = y.mul_add(x, self.splat(c));
        }
        y.registers
    }

    /// See [`F32x16::reciprocal`].
    #[inline(always)]
    fn reciprocal(self, x: Self::Registers) -> Self::Registers {
        let x = F32x16::new(self, x);
        let minus = x.mul(self.splat(-1.0));
        let mut y = x.rough_reciprocal();
        for _ in 0..RECIPROCAL_STEPS {
            y = minus.mul_add(y, self.splat(1.0)).mul_add(y, y);
        }
        y.registers
    }

    /// [`pairs`] of the codes of an activation.
    #[inline(always)]
    fn pairs(self, codes: &[i8; BLOCK]) -> [[i16; 2]; SUB_BLOCKS] {
        pairs(codes)
    }

    /// A vector with all lanes `x`.
    #[inline(always)]
    fn splat(self, x: f32) -> F32x16<Self> {
        F32x16::new(self, Registers::splat(self.splat_register(x)))
    }

    /// A vector from memory.
    #[inline(always)]
    fn load(self, lanes: &Lanes) -> F32x16<Self> {
        F32x16::new(self, *bytemuck::cast_ref(lanes))
    }

    /// A vector from memory, widened; every f16 is an f32.
    #[inline(always)]
    fn load_f16(self, lanes: &[f16; LANES]) -> F32x16<Self> {
        F32x16::new(self, self.widen_f16(lanes))
    }
}

/// The registers of 16 lanes.
pub(crate) trait Registers<R>: Pod {
    /// The same register everywhere.
    fn splat(register: R) -> Self;
    /// `f` of each register of four vectors.
    fn zip(vectors: [&Self; 4], f: impl Fn(R, R, R, R) -> R) -> Self;
}

/// Written out, so that no loop has to be unrolled.
macro_rules! registers {
    ($($count:literal: $($i:literal)*;)*) => {$(
        impl<R: Pod> Registers<R> for [R; $count] {
            #[inline(always)]
            fn splat(register: R) -> Self {
                [register; $count]
            }

            #[inline(always)]
            fn zip([a, b, c, d]: [&Self; 4], f: impl Fn(R, R, R, R) -> R) -> Self {
                [$(f(a[$i], b[$i], c[$i], d[$i])),*]
            }
        }
    )*};
}
registers! {
    1: 0;
    2: 0 1;
    4: 0 1 2 3;
}

/// Sixteen f32 lanes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct F32x16<S: Simd> {
    registers: S::Registers,
    simd: S,
}

/// The lanewise operations of [`Simd`].
macro_rules! lanewise {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),*);)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        pub(crate) fn $name(self $(, $arg: Self)*) -> Self {
            lanewise!(@zip self $name $($arg)*)
        }
    )*};
    (@zip $a:ident $name:ident) => {
        $a.zip([&$a; 3], |simd, a, _, _, _| simd.$name(a))
    };
    (@zip $a:ident $name:ident $b:ident) => {
        $a.zip([&$b, &$a, &$a], |simd, a, b, _, _| simd.$name(a, b))
    };
    (@zip $a:ident $name:ident $b:ident $c:ident) => {
        $a.zip([&$b, &$c, &$a], |simd, a, b, c, _| simd.$name(a, b, c))
    };
    (@zip $a:ident $name:ident $b:ident $c:ident $d:ident) => {
        $a.zip([&$b, &$c, &$d], |simd, a, b, c, d| simd.$name(a, b, c, d))
    };
}

impl<S: Simd> F32x16<S> {
    /// The lanes of these registers.
    #[inline(always)]
    pub(crate) fn new(simd: S, registers: S::Registers) -> Self {
        Self { registers, simd }
    }

    /// To memory.
    #[inline(always)]
    pub(crate) fn store(self, lanes: &mut Lanes) {
        *bytemuck::cast_mut(lanes) = self.registers;
    }

    /// The token of the instruction set that these registers belong to.
    #[inline(always)]
    pub(crate) fn simd(self) -> S {
        self.simd
    }

    /// The registers, for a tier's own arithmetic.
    #[inline(always)]
    pub(crate) fn registers(&self) -> &S::Registers {
        &self.registers
    }

    #[inline(always)]
    fn zip(
        &self,
        others: [&Self; 3],
        f: impl Fn(S, S::Register, S::Register, S::Register, S::Register) -> S::Register,
    ) -> Self {
        let (simd, [b, c, d]) = (self.simd, others);
        let vectors = [&self.registers, &b.registers, &c.registers, &d.registers];
        Self::new(
            simd,
            Registers::zip(vectors, |a, b, c, d| f(simd, a, b, c, d)),
        )
    }

    lanewise! {
        /// self + b
        add(b);
        /// self - b
        sub(b);
        /// self * b
        mul(b);
        /// self / b
        div(b);
        /// self * b + c, rounded once.
        mul_add(b, c);
        /// self > b ? self : b, so b where either is NaN.
        max(b);
        /// self < b ? self : b, so b where either is NaN.
        min(b);
        /// The sign cleared.
        abs();
        /// The larger, as bits, of lanes without a sign: NaN is larger than infinity, and that than any number.
        max_bits(b);
        /// To the nearest integer, halves to even.
        round();
        /// Near 1 / self, for a positive normal number below 2^126: [`RECIPROCAL`] less its bits, as integers. The error is
        /// at most 12 %.
        rough_reciprocal();
        /// 2 to the power of self, for integers in [-126, 127].
        exp2_integer();
        /// self > b ? yes : no, lane by lane; no where either is NaN.
        select_gt(b, yes, no);
    }

    /// The lanes, which are within [-127, 127], rounded to the nearest integer, halves to even; then those of `high`.
    #[inline(always)]
    pub(crate) fn to_i8(self, high: Self) -> [i8; 2 * LANES] {
        self.simd.to_i8(self.registers, high.registers)
    }

    /// The polynomial with these coefficients: see [`Simd::polynomial`].
    #[inline(always)]
    pub(crate) fn polynomial<const N: usize>(self, coefficients: [f32; N]) -> Self {
        Self::new(
            self.simd,
            self.simd.polynomial(self.registers, coefficients),
        )
    }

    /// 1 / self by Newton's method, in a third of the time of a division, for a positive normal number below 2^126. Three steps take
    /// the error from 12 % to rounding.
    #[inline(always)]
    pub(crate) fn reciprocal(self) -> Self {
        Self::new(self.simd, self.simd.reciprocal(self.registers))
    }

    /// The Walsh-Hadamard transform of the lanes: for the distances 8, 4, 2 and 1, sums of two lanes in place of the lower,
    /// lower less upper in place of the upper.
    #[inline(always)]
    pub(crate) fn hadamard(self) -> Self {
        Self::new(self.simd, self.simd.hadamard(self.registers))
    }

    /// The sum of the lanes, halves folded onto each other: 16 to 8 to 4 to 2 to 1.
    #[inline(always)]
    pub(crate) fn sum(self) -> f32 {
        self.simd.sum(self.registers)
    }

    /// The largest lane, by the same tree; NaN lanes may be passed over.
    #[inline(always)]
    pub(crate) fn largest(self) -> f32 {
        self.simd.largest(self.registers)
    }

    /// The largest lane as bits, where none has a sign: see [`F32x16::max_bits`].
    #[inline(always)]
    pub(crate) fn largest_bits(self) -> f32 {
        self.simd.largest_bits(self.registers)
    }
}

/// The bits from which those of a number are subtracted for a rough reciprocal: they halve the worst error.
pub(crate) const RECIPROCAL: i32 = 0x7ef3_11c7;

/// Newton's steps of a reciprocal.
pub(crate) const RECIPROCAL_STEPS: usize = 3;

/// The one tree down which every reduction runs, from 16 lanes: what a tier's own must be equal to.
#[inline(always)]
pub(crate) fn fold<const N: usize>(mut x: [f32; N], op: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        for i in 0..width {
            x[i] = op(x[i], x[i + width]);
        }
        width /= 2;
    }
    x[0]
}
