//! The `dpop-gate` command; everything it does is in the library.

fn main() -> std::process::ExitCode {
    dpop_gate::cli::main()
}
