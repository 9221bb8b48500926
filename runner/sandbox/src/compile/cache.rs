//! Compiled code on disk, so that a restart compiles nothing.
//!
//! Loading compiled code amounts to running it: wasmtime checks little. So a file is used
//! only if it carries a MAC, made with a key that only this user can read, over the
//! plugin's digest, the engine's compatibility hash and the code. Anything else is
//! compiled again. A failing cache (full disk, read-only directory) only logs a warning.

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::Engine;

use crate::engine::engine_version;
use crate::private::{PrivateDir, is_private};
use pgtq_task::Digest;

const MAGIC: &[u8; 8] = b"pgtqcod2";
const MAC_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + MAC_BYTES;
const KEY_FILE: &str = "key";
const EXTENSION: &str = "code";
/// Files that are being written. Only these are removed when they are old: the directory
/// may hold other programs' files.
const UNFINISHED: &str = ".pgtq-unfinished-";
/// A temporary file of this age was left by a runner that crashed.
const STALE: Duration = Duration::from_secs(3600);

/// A directory of compiled code that only this user can read.
pub(crate) struct Cache {
    dir: PrivateDir,
    key: [u8; 32],
    engine: [u8; 32],
    max_bytes: u64,
}

impl Cache {
    /// Opens or creates the directory. `None`, with a warning, if it cannot be used
    /// safely.
    pub(crate) fn open(dir: &Path, max_bytes: u64, engine: &Engine) -> Option<Cache> {
        let opened = PrivateDir::open(dir).and_then(|dir| Ok((key(&dir)?, dir)));
        match opened {
            Ok((key, dir)) => Some(Cache {
                dir,
                key,
                engine: compatibility(engine),
                max_bytes,
            }),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "compiled code is not cached");
                None
            }
        }
    }

    /// The code compiled from the file with this digest, if it is cached and unmodified.
    pub(crate) fn get(&self, digest: Digest) -> Option<Arc<Vec<u8>>> {
        let path = self.dir.path().join(self.name(digest));
        match self.read(&path, digest) {
            Ok(code) => Some(Arc::new(code)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let path = self.dir.shown().join(self.name(digest));
                tracing::warn!(path = %path.display(), %error, "cached code is not usable, compiling again");
                None
            }
        }
    }

    fn read(&self, path: &Path, digest: Digest) -> io::Result<Vec<u8>> {
        let file = regular(path)?;
        let mut bytes = Vec::new();
        (&file).take(self.max_bytes).read_to_end(&mut bytes)?;
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let head = bytes.get(..HEAD_BYTES).ok_or_else(|| wrong("too short"))?;
        let mac = head.strip_prefix(MAGIC).ok_or_else(|| wrong("not ours"))?;
        self.mac(digest, &bytes[HEAD_BYTES..])
            .verify_slice(mac)
            .map_err(|_| wrong("damaged, or written with another key"))?;
        // Updates the time of use: the least recently used entries are removed first. A
        // read-only cache works too.
        let _ = file.set_modified(SystemTime::now());
        Ok(bytes.split_off(HEAD_BYTES))
    }

    /// Keeps `code` for the file with this digest.
    pub(crate) fn put(&self, digest: Digest, code: &[u8]) {
        let written = self.write(digest, code).and_then(|()| self.shrink());
        if let Err(error) = written {
            tracing::warn!(dir = %self.dir.shown().display(), %error, "compiled code could not be cached");
        }
    }

    fn write(&self, digest: Digest, code: &[u8]) -> io::Result<()> {
        if (code.len() + HEAD_BYTES) as u64 > self.max_bytes {
            return Ok(());
        }
        let mac = self.mac(digest, code).finalize().into_bytes();
        let mut file = unfinished(&self.dir)?;
        file.write_all(MAGIC)?;
        file.write_all(&mac)?;
        file.write_all(code)?;
        // No fsync: a file torn by a power failure fails its MAC check.
        file.persist(self.dir.path().join(self.name(digest)))?;
        Ok(())
    }

    /// Removes the oldest entries until the rest fits. Other runners may use the
    /// directory at the same time.
    fn shrink(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.dir.path())? {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let path = entry.path();
            let modified = metadata.modified()?;
            if !metadata.is_file() {
                continue;
            } else if path.extension().is_some_and(|e| e == EXTENSION) {
                entries.push((modified, metadata.len(), path));
            } else if entry.file_name().to_string_lossy().starts_with(UNFINISHED)
                && modified.elapsed().is_ok_and(|age| age > STALE)
            {
                remove(&path)?;
            }
        }
        entries.sort();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in entries {
            if total <= self.max_bytes {
                break;
            }
            remove(&path)?;
            total -= bytes;
        }
        Ok(())
    }

    fn name(&self, digest: Digest) -> String {
        let engine = Digest(self.engine).short();
        format!("{digest}-{engine}.{EXTENSION}")
    }

    fn mac(&self, digest: Digest, code: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("a MAC takes keys of any length");
        mac.update(&digest.0);
        mac.update(&self.engine);
        mac.update(code);
        mac
    }
}

fn unfinished(dir: &PrivateDir) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempfile_in(dir.path())
}

/// Removes a file; not an error if another runner has removed it.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens a regular file only: not a link, which could lead to a file that another user
/// may write, and not a pipe, which would block.
fn regular(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Reads the key, or creates it. If several runners start at once, one creates it.
fn key(dir: &PrivateDir) -> io::Result<[u8; 32]> {
    let path = dir.path().join(KEY_FILE);
    if !path.try_exists()? {
        let mut key = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        let mut file = unfinished(dir)?;
        file.write_all(&key)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.error),
        }
    }
    let unusable = |what: &str| {
        let path = dir.shown().join(KEY_FILE);
        io::Error::other(format!("{} {what}; remove it", path.display()))
    };
    let file = regular(&path).map_err(|error| unusable(&format!("cannot be read: {error}")))?;
    if !is_private(&file.metadata()?) {
        return Err(unusable("belongs to another user or is open to others"));
    }
    let mut key = [0; 32];
    (&file)
        .read_exact(&mut key)
        .map_err(|_| unusable("is too short"))?;
    Ok(key)
}

/// Everything that decides whether compiled code fits this engine.
pub(crate) fn compatibility(engine: &Engine) -> [u8; 32] {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            sha2::Digest::update(&mut self.0, bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha(sha2::Digest::new());
    engine_version().hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    sha2::Digest::finalize(hasher.0).into()
}
