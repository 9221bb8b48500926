//! `{{secret:NAME}}` in the value of a header: replaced by the secret just before the
//! request is sent, so that the guest never sees it. (A server that echoes the request
//! still reveals it: grant secrets only to trusted hosts.)

use http::{HeaderMap, HeaderValue};
use wasmtime_wasi_http::Error;

use crate::attempt::access::Access;
use crate::attempt::denied::{Denied, list};
use crate::capability::http::error::HttpFailure;
use crate::capability::http::request_target::RequestTarget;
use pgtq_task::{SecretGrant, toml_key};

const START: &str = "{{secret:";
const END: &str = "}}";

/// Whether any header contains a placeholder.
pub(super) fn has_any(headers: &HeaderMap) -> bool {
    let holds = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(START));
    headers.values().any(holds)
}

/// Replaces all placeholders, or rejects the request. `is_safe`: whether the connection
/// cannot be read by others: https, or this machine.
pub(super) fn fill(
    headers: &mut HeaderMap,
    wanted: &RequestTarget,
    access: Option<&Access>,
    is_safe: bool,
) -> Result<(), HttpFailure> {
    for (_, value) in headers.iter_mut() {
        let Some(text) = value.to_str().ok().filter(|text| text.contains(START)) else {
            continue;
        };
        let filled = filled(text, wanted, access, is_safe)?;
        let mut with_secret = HeaderValue::from_str(&filled).map_err(|_| {
            let line = format!(
                "{}: a secret contains a character that headers cannot hold, for example a line break; set it again",
                wanted.what()
            );
            HttpFailure::Wrong(Error::ConfigurationError, line)
        })?;
        with_secret.set_sensitive(true);
        *value = with_secret;
    }
    Ok(())
}

fn filled(
    text: &str,
    wanted: &RequestTarget,
    access: Option<&Access>,
    is_safe: bool,
) -> Result<String, HttpFailure> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(START) {
        let Some((name, after)) = after.split_once(END) else {
            break;
        };
        filled.push_str(before);
        filled.push_str(secret(name, wanted, access, is_safe)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn secret<'a>(
    name: &str,
    wanted: &RequestTarget,
    access: Option<&'a Access>,
    is_safe: bool,
) -> Result<&'a str, HttpFailure> {
    let what = format!("the secret `{name}` in {}", wanted.what());
    let asked = access.is_some_and(|access| access.needs().secrets.iter().any(|n| n == name));
    let grant = access.and_then(|access| access.grant().secrets.get(name));
    let granted = grant.is_some_and(|grant| grant.hosts.iter().any(|h| h.allows(&wanted.host)));
    if !asked || !granted {
        let denied = Denied {
            what,
            need: (!asked).then(|| format!("secret = \"{name}\"")),
            grant: (!granted).then(|| line(name, grant, &wanted.host)),
        };
        return Err(HttpFailure::Denied(denied, Error::HttpRequestDenied));
    }
    if wanted.is_echoed() {
        let line = format!("denied {what}: servers echo such a request; use another method");
        return Err(HttpFailure::Wrong(Error::HttpRequestDenied, line));
    }
    if !is_safe {
        let line = format!("denied {what}: a secret is sent by https only, or to this machine");
        return Err(HttpFailure::Wrong(Error::HttpRequestDenied, line));
    }
    let value = access.and_then(|access| access.book().secrets.get(name));
    let value = value.map(pgtq_task::Secret::reveal);
    value.ok_or_else(|| {
        let line = format!("{what} has no value: see [secrets.{name}] in pgtq.toml");
        HttpFailure::Wrong(Error::ConfigurationError, line)
    })
}

/// The grant with one more host.
fn line(name: &str, grant: Option<&SecretGrant>, host: &str) -> String {
    let hosts = grant.map_or(&[][..], |grant| &grant.hosts);
    let hosts = hosts.iter().map(ToString::to_string).collect();
    let hosts = list("hosts", hosts, host.to_owned());
    let read = match grant.is_some_and(|grant| grant.read) {
        true => ", read = true",
        false => "",
    };
    format!("secrets.{} = {{ {hosts}{read} }}", toml_key(name))
}
