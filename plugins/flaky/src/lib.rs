//! One handler for each way to fail.
//!
//! Those that could never succeed have `retries = 0`, so that their error is
//! the task's end. Push them to see what each failure looks like in `pgtq show`.

mod answers;
mod breaks;
mod floods;
mod long;
mod rows;
