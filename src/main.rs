//! The binary: the command line, its exit code, and where memory comes from.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    kappa::cli::main()
}
