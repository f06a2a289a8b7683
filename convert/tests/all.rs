//! The tests of the converter, in one program.

mod common;

mod calibration;
mod configs;
mod convert;
mod hub;
mod parity;
mod sources;
mod torch;
mod weights;
