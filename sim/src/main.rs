//! The `samara-sim` command: `samara_sim::cli` does everything.

use mimalloc::MiMalloc;
use std::process::ExitCode;

/// A simulation makes and drops a message for most events, in every order: this allocator is quicker at that.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    samara_sim::cli::main()
}
