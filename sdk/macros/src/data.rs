//! `#[data]`: three derives that refer to their crates through the SDK.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Item;

/// Adds the derives to a struct or an enum.
pub(crate) fn expand(options: &TokenStream, item: &TokenStream) -> TokenStream {
    if !options.is_empty() {
        let error =
            syn::Error::new_spanned(options, "`#[data]` takes no options").to_compile_error();
        return quote!(#error #item);
    }
    match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Struct(_) | Item::Enum(_)) => quote! {
            #[derive(
                ::pgtq_sdk::serde::Serialize,
                ::pgtq_sdk::serde::Deserialize,
                ::pgtq_sdk::schemars::JsonSchema,
            )]
            #[serde(crate = "::pgtq_sdk::serde")]
            #[schemars(crate = "::pgtq_sdk::schemars")]
            #item
        },
        Ok(other) => {
            let error = syn::Error::new_spanned(
                &other,
                "`#[data]` can only be applied to structs and enums",
            )
            .to_compile_error();
            quote!(#error #other)
        }
        Err(error) => error.to_compile_error(),
    }
}
