//! The program that the tests run: pgtq itself, built by cargo as part of this
//! crate. See `program` in `process.rs` for why.

fn main() -> std::process::ExitCode {
    pgtq::main()
}
