//! The `pgtq` program.

fn main() {}
