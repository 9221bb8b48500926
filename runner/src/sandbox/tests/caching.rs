use super::guests::{guest, load, sandbox, small};
