//! Guesses what a file is that is not WebAssembly.
//!
//! Quotes nothing of it: what is in the folder may be a link to a secret, and the
//! guess goes to the log and to everybody who lists plugins.

/// Bytes that are looked at.
const HEAD: usize = 4 << 10;

/// What the file looks like, with an article.
pub(super) fn like(bytes: &[u8]) -> String {
    let known: [(&[u8], &str); 10] = [
        (b"\x1f\x8b", "gzip data; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "zstd data; unpack it first"),
        (b"PK\x03\x04", "a zip archive; unpack it first"),
        (b"MZ", "a Windows program"),
        (b"\xcf\xfa\xed\xfe", "a macOS program"),
        (b"!<arch>\n", "a static library (.a or .rlib)"),
        (b"BC\xc0\xde", "LLVM bitcode"),
        (b"\x89PNG", "a PNG image"),
        (b"#!", "a script"),
        (
            b"(component",
            "WebAssembly text; plugins are binary .wasm files",
        ),
    ];
    if bytes.starts_with(b"\x7fELF") {
        return elf(bytes).to_owned();
    }
    if let Some((_, name)) = known.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return (*name).to_owned();
    }
    if bytes.trim_ascii_start().starts_with(b"(module") {
        return "WebAssembly text; plugins are binary .wasm files".to_owned();
    }
    let head = &bytes[..bytes.len().min(HEAD)];
    let what = match head.trim_ascii_start().first() {
        None => "blank",
        Some(0) if head.iter().all(|byte| *byte == 0) => "zeroes; the copy may have failed",
        Some(_) if !is_text(head) => "unknown data",
        Some(b'<') => "a web page or other markup; the download may have failed",
        Some(b'{' | b'[') => "JSON, or another text",
        Some(_) => "text",
    };
    what.to_owned()
}

fn elf(bytes: &[u8]) -> &'static str {
    let mark = b".wasmtime.engine";
    match bytes.windows(mark.len()).any(|window| window == mark) {
        true => "code precompiled by wasmtime, which is never loaded; use the .wasm it was made of",
        false => "a native program or library (ELF); build with `pgtq build`",
    }
}

fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // Cut in the middle of a character by us.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let printable = |c: char| !c.is_control() || c.is_whitespace();
    !text.is_empty() && text.chars().all(printable)
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn common_mistakes_are_recognised() {
        for (bytes, word) in [
            (&b"hello\nworld"[..], "text"),
            (b"\x7fELF\x02\x01", "native program"),
            (b"\x7fELF....wasmtime.engine..", "precompiled"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"(module)", "WebAssembly text"),
            (b"\0\0\0\0", "zeroes"),
            (b"\xff\xfe\x01", "unknown data"),
            (b"  \n", "blank"),
            (b"\n<!DOCTYPE html>", "web page"),
            (b"{\"a\": 1}", "JSON"),
        ] {
            assert!(like(bytes).contains(word), "{bytes:?}: {}", like(bytes));
        }
    }
    #[test]
    fn nothing_of_a_file_is_quoted() {
        for bytes in [
            &b"hunter2"[..],
            b"{\"password\": \"hunter2\"}",
            b"#!hunter2",
            b"<hunter2>",
            b"PK\x03\x04hunter2",
            b"\xffhunter2",
        ] {
            let said = like(bytes);
            assert!(!said.contains("hunter") && !said.contains("68"), "{said}");
        }
    }
}
