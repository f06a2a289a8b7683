//! The tests of the command, in one program: to link one takes seconds, and models are converted once.

mod common;

mod answer;
mod cli;
mod embed;
mod first;
mod hub;
mod joint;
mod labels;
mod looks;
mod outputs;
mod published;
mod resume;
mod score;
mod sparse;
mod stream;
mod tables;
