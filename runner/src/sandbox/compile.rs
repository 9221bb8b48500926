//! Compiles a plugin in a child process.
