//! The processor's settings for floats: how it rounds, and whether it replaces subnormal numbers by zero.
//!
//! Rust, and the bits of every answer, suppose the defaults of IEEE 754: to nearest, halves to even, with subnormal numbers. A
//! program in another language may have changed them for its thread, and a library that was built with `-ffast-math` does so for
//! whatever loads it. A thread begins with the settings of the one that starts it.

/// Runs `f` with the defaults, and then restores the settings of the caller, also after a panic. On other processors than x86-64
/// and 64-bit Arm they stay as they are.
pub fn with_defaults<R>(f: impl FnOnce() -> R) -> R {
    let _restored = Restored(register::swap(register::DEFAULTS));
    f()
}

/// Settings that return when this is dropped.
struct Restored(register::Settings);

impl Drop for Restored {
    fn drop(&mut self) {
        register::swap(self.0);
    }
}

/// MXCSR. Its lower six bits are flags of what happened: they are the caller's, too.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod register {
    use std::arch::asm;

    pub(super) type Settings = u32;

    /// Every exception masked.
    pub(super) const DEFAULTS: Settings = 0x1f80;

    pub(super) fn swap(settings: Settings) -> Settings {
        let mut found = 0;
        // SAFETY: every x86-64 processor has the register; one is written that was read there, or has no reserved bit set.
        unsafe {
            asm!("stmxcsr [{}]", in(reg) &raw mut found, options(nostack, preserves_flags));
            asm!("ldmxcsr [{}]", in(reg) &raw const settings, options(nostack, preserves_flags));
        }
        found
    }
}

/// FPCR.
#[cfg(all(target_arch = "aarch64", not(miri)))]
mod register {
    use std::arch::asm;

    pub(super) type Settings = u64;

    pub(super) const DEFAULTS: Settings = 0;

    pub(super) fn swap(settings: Settings) -> Settings {
        let found;
        // SAFETY: every 64-bit Arm processor has the register; one is written that was read there, or zero.
        unsafe {
            asm!("mrs {}, fpcr", out(reg) found, options(nomem, nostack, preserves_flags));
            asm!("msr fpcr, {}", in(reg) settings, options(nostack, preserves_flags));
        }
        found
    }
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod register {
    #[derive(Clone, Copy)]
    pub(super) struct Settings;

    pub(super) const DEFAULTS: Settings = Settings;

    pub(super) fn swap(settings: Settings) -> Settings {
        settings
    }
}
