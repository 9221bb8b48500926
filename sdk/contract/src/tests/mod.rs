mod cases;
mod hostile;
mod manifest;
mod rules;

/// The target of a request for a URL.
fn target(method: &str, url: &str) -> Result<crate::HttpTarget, crate::TargetError> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = path.split('?').next().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    crate::HttpTarget::read(method, scheme, authority, path)
}
