//! Thumbnails of images that lie on other servers.

use pgtq_sdk::prelude::*;

use crate::{Thumbnail, shrink};

/// Largest file that is fetched; it is in memory while it is decoded.
const FILE_BYTES: usize = 16 << 20;

/// Make a thumbnail of an image on another server.
///
/// What the server says about its type is ignored: the file itself is looked at.
/// Redirects are not followed. 429, 5xx and no answer are tried again.
#[handler(
    retries = 8,
    backoff = exponential(5s..1h),
    timeout = 1m,
    memory = 256MiB,
    needs(http = ["GET https://*:*", "GET http://*:*"])
)]
fn thumbnail_url(
    ctx: &Ctx,
    /// Where the PNG or JPEG file is.
    url: String,
    /// The longest edge of the thumbnail in pixels.
    #[default(256)]
    edge: u32,
) -> Result<Thumbnail> {
    let bytes = fetch(ctx, &url)?;
    ctx.progress(0.3, format!("fetched {} bytes", bytes.len()));
    shrink(ctx, &bytes, edge)
}

/// The file at a URL, if it is not too large.
fn fetch(ctx: &Ctx, url: &str) -> Result<Vec<u8>> {
    let mut response = ctx
        .http()
        .get(url)
        .header("accept", "image/png, image/jpeg")
        .timeout(secs(20))
        .send()?;
    let status = response.status();
    if status >= 400 {
        let refused = response
            .error_for_status()
            .expect_err("the status is 400 or more");
        return Err(match status {
            408 | 425 | 429 | 500.. => refused,
            _ => refused.fatal(),
        });
    }
    if status != 200 {
        let location = shown(response.header("location").unwrap_or("nowhere"));
        let url = shown(url);
        return Err(fatal!(
            "{url} answered {status} and points to {location}: redirects are not followed"
        )
        .code(format!("http:{status}")));
    }
    // Counted, too: a server need not say it, and need not say the truth.
    let said = response
        .header("content-length")
        .and_then(|length| length.parse().ok());
    if said.is_some_and(|said: usize| said > FILE_BYTES) {
        return Err(too_large(url));
    }
    let mut bytes = Vec::with_capacity(said.unwrap_or(0));
    while let Some(chunk) = response.read_chunk()? {
        if bytes.len() + chunk.len() > FILE_BYTES {
            return Err(too_large(url));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// An address for messages: without its query, where people put keys.
fn shown(url: &str) -> String {
    let shown = url.split('?').next().unwrap_or("");
    shown.escape_debug().take(200).collect()
}

fn too_large(url: &str) -> Error {
    let (url, limit) = (shown(url), FILE_BYTES >> 20);
    fatal!("the file at {url} has more than {limit} MiB").code("size")
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
    fn an_image_is_fetched_and_its_type_is_looked_at() {
        let file = crate::tests::picture(800, 400, ImageFormat::Jpeg).0;
        let small = run(move |_| Ok(Reply::ok(file.clone()).header("content-type", "text/html")));
        let small = small.expect("an image");
        assert_eq!(
            (&small["width"], &small["source"]["format"]),
            (&json!(100), &json!("jpeg"))
        );
    }

    #[test]
    fn answers_without_an_image_are_told_apart() {
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
        let error = run(|_| Err(retry!("gone away").code("unavailable"))).expect_err("no answer");
        assert_eq!(error.verdict(), Verdict::Retry);
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_whatever_the_server_says() {
        let said = run(|_| Ok(Reply::ok("x").header("content-length", FILE_BYTES + 1)));
        let sent = run(|_| Ok(Reply::ok(vec![0; FILE_BYTES + 1])));
        for result in [said, sent] {
            let error = result.expect_err("too large");
            assert_eq!(
                (error.code_text(), error.verdict()),
                ("size", Verdict::Fail)
            );
        }
    }
}
