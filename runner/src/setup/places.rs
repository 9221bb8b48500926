//! The directories pgtq may write to on this machine.
