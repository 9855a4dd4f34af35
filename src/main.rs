//! The `drover` program: everything it does is in the library.

fn main() -> std::process::ExitCode {
    drover::cli::main()
}
