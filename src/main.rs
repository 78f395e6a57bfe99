//! The `rbuild` program: everything is in the library.

fn main() -> std::process::ExitCode {
    rbuild::sandbox::init::hook();
    rbuild::cli::main()
}
