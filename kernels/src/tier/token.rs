//! The tokens: one type a tier, of no size, whose values exist only where its instruction set was detected.
//!
//! This is where `unsafe` crosses from code for any processor to code for one. [`proven!`] crosses for a few intrinsics that
//! are a method of a token, [`Token::vectorize`] for a whole kernel, so that all the methods are inlined into it. Both
//! have the token, so both are safe to call. Bodies of methods are safe as well: in a function with `#[target_feature]` an
//! intrinsic that takes no pointer is safe, and the compiler refuses one that needs a feature which the row doesn't name.

use crate::simd::Simd;

/// A value that exists only where the instruction set of a tier was detected.
pub(crate) trait Token: Copy + 'static {
    /// The token of the tier whose vectors this one uses.
    type Simd: Simd;

    /// Makes vectors.
    fn simd(self) -> Self::Simd;

    /// Runs a kernel in a function of its own that is compiled for this tier.
    ///
    /// The closure, and all that it calls, must be `#[inline(always)]`: what isn't inlined here is compiled for any processor,
    /// gives the same bits, and takes ten times as long.
    fn vectorize<R>(self, kernel: impl FnOnce() -> R) -> R;
}

/// Methods of a token, compiled for its features. It is called as a row's own macro (`avx2!`, ...), which gives the token
/// and its features:
///
/// > avx2! { fn add(self, a: __m256, b: __m256) -> __m256 { _mm256_add_ps(a, b) } }
///
/// A body has the arguments, but not `self`; `Avx2::here()` is one.
macro_rules! proven {
    ($Tier:ident $features:tt $(
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident $(<const $N:ident: $Type:ty>)? (self $(, $argument:ident: $Argument:ty)* $(,)?)
        $(-> $Return:ty)? $body:block
    )*) => {$(
        proven! {
            @method $Tier $features [$(#[$attribute])* $visibility] $name [$($N: $Type)?]
            ($($argument: $Argument),*) [$($Return)?] $body
        }
    )*};
    (
        @method $Tier:ident [$($feature:tt)*] [$(#[$attribute:meta])* $visibility:vis] $name:ident
        [$($N:ident: $Type:ty)?] ($($argument:ident: $Argument:ty),*) [$($Return:ty)?] $body:block
    ) => {
        $(#[$attribute])*
        #[inline(always)]
        $visibility fn $name $(<const $N: $Type>)? (self $(, $argument: $Argument)*) $(-> $Return)? {
            #[inline]
            $(#[target_feature(enable = $feature)])*
            fn compiled $(<const $N: $Type>)? ($($argument: $Argument),*) $(-> $Return)? $body
            let _: $crate::tier::token::$Tier = self;
            // SAFETY: `compiled` asks for the features of the row. `self` is the row's token, as the line above checks, and
            // a token exists only where they were detected.
            unsafe { compiled $(::<$N>)? ($($argument),*) }
        }
    };
}
#[allow(unused_imports, reason = "a build may have plain Rust only")]
pub(crate) use proven;

/// The macros `avx2!` and so on.
macro_rules! row_macros {
    ($dollar:tt $(
        $(#[$doc:meta])* $Tier:ident, $name:ident, $arch:meta, $Simd:ident, [$($feature:tt),*];
    )*) => {$(
        #[cfg($arch)]
        #[allow(unused_macros, reason = "plain Rust needs no features")]
        macro_rules! $name {
            ($dollar($dollar methods:tt)*) => {
                $crate::tier::token::proven! { $Tier [$($feature)*] $dollar($dollar methods)* }
            };
        }
    )*};
}
for_each_tier!(row_macros $);

#[cfg(target_arch = "x86_64")]
macro_rules! is_detected {
    ($feature:tt) => {
        std::arch::is_x86_feature_detected!($feature)
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! is_detected {
    ($feature:tt) => {
        std::arch::is_aarch64_feature_detected!($feature)
    };
}

/// A WebAssembly module that an engine took has what it was compiled for.
#[cfg(target_family = "wasm")]
#[allow(
    unused_macros,
    unused_macro_rules,
    reason = "a build may have fewer tiers"
)]
macro_rules! is_detected {
    ("relaxed-simd") => {
        super::wasm::relaxed_multiply_add_is_fused()
    };
    ($feature:tt) => {
        cfg!(target_feature = $feature)
    };
}

macro_rules! tokens {
    ($($(#[$doc:meta])* $Tier:ident, $name:ident, $arch:meta, $Simd:ident, [$($feature:tt),*];)*) => {$(
        $(#[$doc])*
        #[cfg($arch)]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $Tier(());

        #[cfg($arch)]
        impl $Tier {
            /// The features of the row, and whether this machine has them.
            pub(crate) fn features() -> Vec<(&'static str, bool)> {
                vec![$(($feature, is_detected!($feature))),*]
            }

            /// The token, where the processor and the operating system have every feature of the row.
            pub(crate) fn detect() -> Option<Self> {
                Self::features().into_iter().all(|(_, detected)| detected).then_some(Self(()))
            }

            /// The token, for code that is compiled for its features.
            #[allow(dead_code, reason = "not every tier needs it")]
            #[inline]
            $(#[target_feature(enable = $feature)])*
            pub(crate) fn here() -> Self {
                Self(())
            }
        }

        #[cfg($arch)]
        #[allow(unused_unsafe, reason = "a row without features has no gap to cross")]
        impl Token for $Tier {
            type Simd = $Simd;

            proven! {
                $Tier [$($feature)*]
                fn simd(self) -> $Simd {
                    $Simd::here()
                }
            }

            #[inline(always)]
            fn vectorize<R>(self, kernel: impl FnOnce() -> R) -> R {
                #[inline(never)]
                $(#[target_feature(enable = $feature)])*
                fn compiled<R>(kernel: impl FnOnce() -> R) -> R {
                    kernel()
                }
                // SAFETY: `compiled` asks for the features of the row. `self` is the row's token, and a token exists only
                // where they were detected.
                unsafe { compiled(kernel) }
            }
        }
    )*};
}
for_each_tier!(tokens);
