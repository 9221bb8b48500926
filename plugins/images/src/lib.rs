//! Thumbnails of PNG and JPEG images, base64 in and out.
//!
//! A task's arguments hold at most 1 MiB, so an image of about 760 KiB.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
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
    image: String,
    /// The longest edge of the thumbnail in pixels.
    #[default(256)]
    edge: u32,
) -> Result<Thumbnail> {
    // Nothing here gets better by trying again, so every error is final.
    let bytes = STANDARD.decode(image.trim()).fatal()?;
    drop(image);
    let mut reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format()?;
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
        png: STANDARD.encode(&png),
        width: small.width(),
        height: small.height(),
        source: Source {
            format: format.to_owned(),
            width: source.width(),
            height: source.height(),
        },
    })
}

/// What `thumbnail` answers.
#[data]
#[derive(Debug)]
pub struct Thumbnail {
    /// The thumbnail as a PNG file, base64.
    pub png: String,
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
mod tests {
    use super::*;
    use image::{DynamicImage, RgbImage};

    /// A real file of the given format, base64.
    fn picture(width: u32, height: u32, format: ImageFormat) -> String {
        let pixels = RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x % 256) as u8, (y % 256) as u8, 128])
        });
        let mut bytes = Vec::new();
        DynamicImage::ImageRgb8(pixels)
            .write_to(&mut Cursor::new(&mut bytes), format)
            .expect("memory takes every byte");
        STANDARD.encode(bytes)
    }

    #[test]
    fn png_and_jpeg_become_small_pngs_of_the_same_shape() {
        for (format, name) in [(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpeg")] {
            let ctx = Ctx::test();
            let small = thumbnail(&ctx, picture(800, 400, format), 100).expect("a real image");
            assert_eq!((small.width, small.height), (100, 50));
            assert_eq!(small.source.format, name);
            let png = STANDARD.decode(&small.png).expect("base64 comes out");
            let back = image::load_from_memory_with_format(&png, ImageFormat::Png);
            assert_eq!(back.expect("a PNG comes out").width(), 100);
            assert_eq!(ctx.progress_reports().len(), 1);
        }
    }

    #[test]
    fn a_small_image_is_not_enlarged() {
        let image = picture(10, 20, ImageFormat::Png);
        let result = Ctx::test().run("thumbnail", json!({ "image": image }));
        let small = result.expect("a real image");
        assert_eq!(
            (&small["width"], &small["height"]),
            (&json!(10), &json!(20))
        );
    }

    #[test]
    fn what_is_no_image_fails_for_good() {
        let cut = &picture(64, 64, ImageFormat::Png)[..80];
        for image in ["%%%", "aGVsbG8=", "", cut] {
            let error = thumbnail(&Ctx::test(), image.to_owned(), 10).expect_err("no image");
            assert_eq!(error.verdict(), pgtq_sdk::Verdict::Fail, "{error}");
        }
    }
}
