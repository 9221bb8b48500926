//! Tokens, identifiers and types, as text or in parts.

use proc_macro2::{Ident, TokenStream, TokenTree};

pub(crate) fn at_commas(tokens: TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![TokenStream::new()];
    for token in tokens {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == ',' => parts.push(TokenStream::new()),
            other => parts.last_mut().expect("never empty").extend([other]),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// An identifier as text, without `r#`.
pub(crate) fn plain_name(ident: &Ident) -> String {
    let text = ident.to_string();
    text.strip_prefix("r#").unwrap_or(&text).to_owned()
}

pub(crate) fn is_string(ty: &syn::Type) -> bool {
    matches!(ty, syn::Type::Path(path) if path.path.is_ident("String"))
}

/// Whether the last segment of a type's path is `name`.
pub(crate) fn is_named(ty: &syn::Type, name: &str) -> bool {
    match ty {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == name),
        _ => false,
    }
}
