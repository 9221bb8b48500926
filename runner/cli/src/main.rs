//! The `pgtq` program. Everything it can do is in `pgtq`.

fn main() -> std::process::ExitCode {
    pgtq::main()
}
