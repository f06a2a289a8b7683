//! Weights in blocks: rounded as they are, or calibrated on a text with GPTQ.

mod calibrate;
mod calibration;
mod error;
mod gptq;
mod pack;

pub(crate) use calibrate::{Calibrator, Tuning};
pub use calibration::Calibration;
pub(crate) use calibration::Tokens;
pub use error::QuantizeError;
pub(crate) use pack::{Packed, Squares, quantize};
