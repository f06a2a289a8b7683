//! The table of tiers. Everything that goes through all of them is made from it: the names, the tokens, the choice between
//! them, and by way of these the tests, the bench and `rq info --cpu`.
//!
//! `docs/kernels.md` says what else a new row needs.

/// Calls a macro with all rows:
///
/// > documentation, token, name, where it is compiled, the token that has its vectors, the features that are detected and
/// > enabled
///
/// The rows of an architecture go from the least to the most capable.
macro_rules! for_each_tier {
    ($then:ident $($with:tt)*) => {
        $then! { $($with)*
            /// Plain Rust: the oracle, and the fallback.
            Scalar, scalar, all(), Scalar, [];
            /// AVX2 with FMA and F16C: x86 since 2013 (Intel) and 2015 (AMD).
            Avx2, avx2, target_arch = "x86_64", Avx2, ["avx2", "fma", "f16c"];
            /// AVX2 with the int8 dot product in 256 bits: Alder Lake and later, Zen 5.
            AvxVnni, avxvnni, target_arch = "x86_64", Avx2, ["avx2", "fma", "f16c", "avxvnni"];
            /// AVX-512 with its int8 dot product.
            Avx512Vnni, avx512vnni, target_arch = "x86_64", Avx512Vnni,
                ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512vnni"];
            /// Armv8.0's vectors, without an int8 dot product: Cortex-A53 and A72 (Raspberry Pi 3 and 4).
            Neon, neon, target_arch = "aarch64", Neon, ["neon"];
            /// NEON with the int8 dot product `sdot`: Cortex-A76 (Raspberry Pi 5), Apple M1, phones since 2018.
            Dotprod, dotprod, target_arch = "aarch64", Neon, ["neon", "dotprod"];
            /// NEON with the int8 matrix product `smmla`: Neoverse V1 and N2, Apple since M2 and A15, phones since 2021.
            I8mm, i8mm, target_arch = "aarch64", Neon, ["neon", "dotprod", "i8mm"];
            /// WebAssembly's vectors: every engine since 2021 (Chrome 91, Firefox 89, Safari 16.4, Node 16).
            Simd128, simd128, all(target_arch = "wasm32", target_feature = "simd128"), Simd128, ["simd128"];
            /// WebAssembly's relaxed vectors, where the relaxed multiply-add of the engine at hand is a fused one.
            Relaxed, relaxed, all(target_arch = "wasm32", target_feature = "simd128", feature = "relaxed-simd"), Relaxed,
                ["simd128", "relaxed-simd"];
        }
    };
}
