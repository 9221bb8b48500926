//! Thumbnails of PNG and JPEG images: base64 in or fetched by URL, base64 out.
//!
//! A task's arguments hold at most 1 MiB, so an image of about 760 KiB.
//! `thumbnail_url` takes larger ones. For it, in `pgtq.toml`, if the file is `images.wasm`:
//!
//! ```toml
//! [grants.images]
//! http = ["GET https://*:*"]       # or only the hosts that you know
//! ```
//!
//! The runner refuses addresses that are not public, so no URL leads into your own
//! network.

mod fetch;

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};
use pgtq_sdk::prelude::*;

/// More pixels along one edge than this are refused before they are decoded.
const LONGEST_EDGE: u32 = 16_384;

/// Make a thumbnail of an image.
///
/// The image keeps its proportions; one that is small already is not enlarged.
#[handler(retries = 3, timeout = 30s, memory = 256MiB)]
fn thumbnail(
    ctx: &Ctx,
    /// The PNG or JPEG file, base64.
    image: Bytes,
    /// The longest edge of the thumbnail in pixels.
    #[default(256)]
    edge: u32,
) -> Result<Thumbnail> {
    shrink(ctx, &image, edge)
}

/// Makes the thumbnail. Nothing here gets better by trying again, so every error
/// is final.
fn shrink(ctx: &Ctx, bytes: &[u8], edge: u32) -> Result<Thumbnail> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let format = match reader.format() {
        Some(ImageFormat::Png) => "png",
        Some(ImageFormat::Jpeg) => "jpeg",
        _ => return Err(fatal!("this is neither a PNG nor a JPEG image")),
    };
    if !(1..=LONGEST_EDGE).contains(&edge) {
        return Err(fatal!("an edge is 1 to {LONGEST_EDGE} pixels, not {edge}"));
    }
    reader.limits(limits());
    let source = reader.decode().fatal()?;
    ctx.progress(0.5, "decoded");

    let small = match source.width().max(source.height()) > edge {
        true => source.thumbnail(edge, edge),
        false => source.clone(),
    };
    let mut png = Vec::new();
    small
        .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)
        .fatal()?;
    info!(
        from = format!("{}x{}", source.width(), source.height()),
        to = format!("{}x{}", small.width(), small.height()),
        "made a thumbnail of {} bytes",
        png.len()
    );
    Ok(Thumbnail {
        png: Bytes(png),
        width: small.width(),
        height: small.height(),
        source: Source {
            format: format.to_owned(),
            width: source.width(),
            height: source.height(),
        },
    })
}

/// What both handlers answer.
#[data]
#[derive(Debug)]
pub struct Thumbnail {
    /// The thumbnail as a PNG file, base64.
    pub png: Bytes,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// The image it was made of.
    pub source: Source,
}

/// The image that came in.
#[data]
#[derive(Debug)]
pub struct Source {
    /// `png` or `jpeg`.
    pub format: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A picture that says it is larger than this is an error instead of a trap.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_EDGE);
    limits.max_image_height = Some(LONGEST_EDGE);
    limits.max_alloc = Some(128 << 20);
    limits
}

#[cfg(test)]
mod tests;
