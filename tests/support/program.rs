//! The program under test: pgtq, built as a binary of this crate. `program` in
//! `process.rs` explains why.

fn main() -> std::process::ExitCode {
    pgtq::main()
}
