//! The compiling child: the body of the hidden `pgtq compile-plugin`.

use std::process::ExitCode;

/// Reads WebAssembly on stdin, writes compiled code or an error on stdout.
/// Sets its own resource limits first; needs no environment.
pub fn compile_child() -> ExitCode {
    todo!()
}
