//! The `pgtq` program. Everything it can do is in `pgtq::cli`.

fn main() -> std::process::ExitCode {
    pgtq::cli::main()
}
