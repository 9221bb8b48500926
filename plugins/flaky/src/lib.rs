//! One handler for each way to fail.
//!
//! Handlers that can never succeed have `retries = 0`, so that the first error fails
//! the task. Push a task to see its failure in `pgtq show`.

mod answers;
mod breaks;
mod floods;
mod long;
mod rows;
