//! The `drover` program.
//!
//! Everything it does is in the library, where tests, benches and fuzz targets reach it; the one
//! place that turns outcomes into exit codes is `cli`.

fn main() -> std::process::ExitCode {
    drover::cli::main()
}
