//! The model in f32, and how close to it a quantized one is.

mod closeness;
mod oracle;

pub use closeness::{Closeness, Expected, MaskedText, mask_texts};
pub use oracle::Reference;
pub(crate) use oracle::attention;
