//! The program `rq`, which is in the library, for whoever else has it along.

use std::process::ExitCode;

fn main() -> ExitCode {
    rq_command::main(std::env::args_os()).into()
}
