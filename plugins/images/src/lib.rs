//! Thumbnails of PNG and JPEG images, as base64 or from a URL.
//!
//! A task's arguments are at most 1 MiB, which is an image of about 760 KiB in
//! base64. `thumbnail_url` accepts larger images. It needs this grant in `pgtq.toml`,
//! for the plugin file `images.wasm`:
//!
//! ```toml
//! [grants.images]
//! http = ["GET https://*:*"]       # or only known hosts
//! ```
//!
//! The runner denies requests to addresses that are not public, so a URL cannot reach
//! your internal network.

mod fetch;

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};
use pgtq_sdk::prelude::*;

/// The longest edge of an image, in pixels. Larger images are rejected before
/// decoding.
const LONGEST_EDGE: u32 = 16_384;

/// Make a thumbnail of an image.
///
/// The thumbnail keeps the proportions of the image. Small images are not enlarged.
#[handler(retries = 3, timeout = 30s, memory = 256MiB)]
fn thumbnail(
    ctx: &Ctx,
    /// A PNG or JPEG file, base64.
    image: Bytes,
    /// The longest edge of the thumbnail in pixels.
    #[default(256)]
    edge: u32,
) -> Result<Thumbnail> {
    shrink(ctx, &image, edge)
}

/// Makes the thumbnail. Every error is final, because a retry would fail the same way.
fn shrink(ctx: &Ctx, bytes: &[u8], edge: u32) -> Result<Thumbnail> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let format = match reader.format() {
        Some(ImageFormat::Png) => "png",
        Some(ImageFormat::Jpeg) => "jpeg",
        _ => return Err(fatal!("this is neither a PNG nor a JPEG image")),
    };
    if !(1..=LONGEST_EDGE).contains(&edge) {
        return Err(fatal!(
            "`edge` must be 1 to {LONGEST_EDGE} pixels, got {edge}"
        ));
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

/// The result of both handlers.
#[data]
#[derive(Debug)]
pub struct Thumbnail {
    /// The thumbnail as a PNG file, base64.
    pub png: Bytes,
    /// The width of the thumbnail in pixels.
    pub width: u32,
    /// The height of the thumbnail in pixels.
    pub height: u32,
    /// The original image.
    pub source: Source,
}

/// The original image.
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

/// The limits of the decoder: a larger image is an error instead of a trap.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_EDGE);
    limits.max_image_height = Some(LONGEST_EDGE);
    limits.max_alloc = Some(128 << 20);
    limits
}

#[cfg(test)]
mod tests;
