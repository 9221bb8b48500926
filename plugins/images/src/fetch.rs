//! Thumbnails of images on other servers.

use pgtq_sdk::prelude::*;

use crate::{Thumbnail, shrink};

/// The largest file to download. The whole file is in memory while it is decoded.
const FILE_BYTES: usize = 16 << 20;

/// Make a thumbnail of an image on another server.
///
/// The format is detected from the file, not from its `content-type`. Redirects are
/// not followed. Status 408, 425, 429 and 5xx and connection errors are retried.
#[handler(
    retries = 8,
    backoff = exponential(5s..1h),
    timeout = 1m,
    memory = 256MiB,
    needs(http = ["GET https://*:*", "GET http://*:*"])
)]
fn thumbnail_url(
    ctx: &Ctx,
    /// The URL of a PNG or JPEG file.
    url: String,
    /// The longest edge of the thumbnail in pixels.
    #[default(256)]
    edge: u32,
) -> Result<Thumbnail> {
    let bytes = fetch(ctx, &url)?;
    ctx.progress(0.3, format!("fetched {} bytes", bytes.len()));
    shrink(ctx, &bytes, edge)
}

/// Downloads a file of at most `FILE_BYTES`.
fn fetch(ctx: &Ctx, url: &str) -> Result<Vec<u8>> {
    let mut response = ctx
        .http()
        .get(url)
        .header("accept", "image/png, image/jpeg")
        .timeout(secs(20))
        .send()?;
    let status = response.status();
    if status >= 400 {
        let error = response
            .error_for_status()
            .expect_err("the status is 400 or more");
        return Err(match status {
            408 | 425 | 429 | 500.. => error,
            _ => error.fatal(),
        });
    }
    if status != 200 {
        let location = shown(response.header("location").unwrap_or("nowhere"));
        let url = shown(url);
        return Err(fatal!(
            "{url} returned {status} with location {location}: redirects are not followed"
        )
        .code(format!("http:{status}")));
    }
    // The header is optional and may be wrong, so the bytes are counted as well.
    let declared = response
        .header("content-length")
        .and_then(|length| length.parse().ok());
    if declared.is_some_and(|length: usize| length > FILE_BYTES) {
        return Err(too_large(url));
    }
    let mut bytes = Vec::with_capacity(declared.unwrap_or(0));
    while let Some(chunk) = response.read_chunk()? {
        if bytes.len() + chunk.len() > FILE_BYTES {
            return Err(too_large(url));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A URL for messages: without its query, which often contains keys.
fn shown(url: &str) -> String {
    let shown = url.split('?').next().unwrap_or("");
    shown.escape_debug().take(200).collect()
}

fn too_large(url: &str) -> Error {
    let (url, limit) = (shown(url), FILE_BYTES >> 20);
    fatal!("the file at {url} is larger than {limit} MiB").code("size")
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageFormat;
    use pgtq_sdk::{Reply, Verdict};

    const URL: &str = "https://img.example/a.png";

    fn run(answer: impl FnMut(&pgtq_sdk::Requested) -> Result<Reply> + 'static) -> Result<Value> {
        let ctx = Ctx::test().on_http("GET", URL, answer);
        ctx.run("thumbnail_url", json!({"url": URL, "edge": 100}))
    }

    #[test]
    fn an_image_is_downloaded_and_its_format_detected() {
        let file = crate::tests::picture(800, 400, ImageFormat::Jpeg).0;
        let small = run(move |_| Ok(Reply::ok(file.clone()).header("content-type", "text/html")));
        let small = small.expect("an image");
        assert_eq!(
            (&small["width"], &small["source"]["format"]),
            (&json!(100), &json!("jpeg"))
        );
    }

    #[test]
    fn temporary_errors_are_retried_and_others_are_final() {
        for (status, verdict) in [
            (204, Verdict::Fail),
            (301, Verdict::Fail),
            (404, Verdict::Fail),
            (429, Verdict::Retry),
            (502, Verdict::Retry),
        ] {
            let error = run(move |_| Ok(Reply::status(status))).expect_err("no image");
            assert_eq!(error.verdict(), verdict, "{error}");
        }
        let error = run(|_| Ok(Reply::ok("<html>"))).expect_err("no image");
        assert_eq!(error.message(), "this is neither a PNG nor a JPEG image");
        assert_eq!(error.verdict(), Verdict::Fail);
        let error = run(|_| Err(retry!("refused").code("unavailable"))).expect_err("no response");
        assert_eq!(error.verdict(), Verdict::Retry);
    }

    #[test]
    fn a_large_file_is_rejected_with_or_without_its_length() {
        let declared = run(|_| Ok(Reply::ok("x").header("content-length", FILE_BYTES + 1)));
        let sent = run(|_| Ok(Reply::ok(vec![0; FILE_BYTES + 1])));
        for result in [declared, sent] {
            let error = result.expect_err("too large");
            assert_eq!(
                (error.code_text(), error.verdict()),
                ("size", Verdict::Fail)
            );
        }
    }
}
