//! Tests with generated images.

use super::*;
use image::{DynamicImage, RgbImage};

/// A file of the given format.
pub(crate) fn picture(width: u32, height: u32, format: ImageFormat) -> Bytes {
    let pixels = RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x % 256) as u8, (y % 256) as u8, 128])
    });
    let mut bytes = Vec::new();
    DynamicImage::ImageRgb8(pixels)
        .write_to(&mut Cursor::new(&mut bytes), format)
        .expect("writing to memory succeeds");
    Bytes(bytes)
}

#[test]
fn png_and_jpeg_become_small_pngs_with_the_same_proportions() {
    for (format, name) in [(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpeg")] {
        let ctx = Ctx::test();
        let small = thumbnail(&ctx, picture(800, 400, format), 100).expect("a valid image");
        assert_eq!((small.width, small.height), (100, 50));
        assert_eq!(small.source.format, name);
        let decoded = image::load_from_memory_with_format(&small.png, ImageFormat::Png);
        assert_eq!(decoded.expect("the result is a PNG").width(), 100);
        assert_eq!(ctx.progress_reports().len(), 1);
    }
}

#[test]
fn a_small_image_is_not_enlarged() {
    let image = picture(10, 20, ImageFormat::Png);
    let result = Ctx::test().run("thumbnail", json!({ "image": image }));
    let small = result.expect("a valid image");
    assert_eq!(
        (&small["width"], &small["height"]),
        (&json!(10), &json!(20))
    );
}

#[test]
fn invalid_images_are_final_errors() {
    let truncated = json!(Bytes::from(&picture(64, 64, ImageFormat::Png)[..80]));
    for image in [json!("%%%"), json!("aGVsbG8="), json!(""), truncated] {
        let result = Ctx::test().run("thumbnail", json!({ "image": image }));
        let error = result.expect_err("not an image");
        assert_eq!(error.verdict(), pgtq_sdk::Verdict::Fail, "{error}");
    }
}
