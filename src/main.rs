//! The binary: the command line, and its exit code.

fn main() -> std::process::ExitCode {
    kappa::cli::main()
}
