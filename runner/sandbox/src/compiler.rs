//! The program that compiles plugins.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The program that compiles plugins, run as `pgtq compile-plugin`.
#[derive(Debug, Clone)]
pub struct Compiler {
    pub(crate) program: PathBuf,
    /// The name of the program in errors.
    pub(crate) name: String,
    /// Keeps the image of a file that was replaced or removed.
    _image: Option<Arc<File>>,
}

impl Compiler {
    /// The image that this process runs. It stays the same when the program's file is
    /// replaced or removed.
    ///
    /// Fails where `/proc` is not mounted.
    pub fn own_image() -> io::Result<Compiler> {
        // A path only: it works for a file that is executable and not readable.
        let image = File::options()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open("/proc/self/exe")?;
        Ok(Compiler {
            program: format!("/proc/self/fd/{}", image.as_raw_fd()).into(),
            name: "in this program".to_owned(),
            _image: Some(Arc::new(image)),
        })
    }

    /// The program at `path`, as it is when a file is compiled. For tests, which are not
    /// `pgtq` themselves.
    pub fn at(path: impl Into<PathBuf>) -> Compiler {
        let program = path.into();
        Compiler {
            name: program.display().to_string(),
            program,
            _image: None,
        }
    }
}
