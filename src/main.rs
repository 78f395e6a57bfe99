//! The `rbuild` program: everything is in the library.

fn main() -> std::process::ExitCode {
    rbuild::cli::main()
}
