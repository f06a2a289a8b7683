//! The tests of the file's format, in one program.

mod common;

mod config;
mod damage;
mod damage_tensors;
mod json;
mod random;
mod reader;
mod spec;
mod writer;
