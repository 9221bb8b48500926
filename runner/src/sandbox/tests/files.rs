use super::guests::{Parts, component, core_module, guest, load, manifest, sandbox, small, source};
use crate::sandbox::{FileForm, LoadError, inspect};
