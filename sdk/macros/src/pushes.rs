//! The typed pushes of a handler: `name::push(...)` and `name::task(...)`.

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::ItemFn;
use syn::spanned::Spanned;

use crate::errors::Errors;
use crate::options::Options;
use crate::shape::{Parameter, Shape};
use crate::signature::Signature;
use crate::tokens::{is_string, plain_name};

/// The names of the primitive types.
const PRIMITIVES: &str = " bool char f16 f32 f64 f128 i8 i16 i32 i64 i128 isize str u8 u16 u32 \
                          u64 u128 usize ";

/// Rejects a type of typed pushes with the name of a primitive type. The macro cannot
/// see conflicts with crates and modules; the guide explains the compiler's errors.
pub(crate) fn check_push(function: &Ident, options: &Options, errors: &Errors) {
    let ident = options.push.as_ref().unwrap_or(function);
    let name = plain_name(ident);
    if PRIMITIVES.contains(&format!(" {name} ")) {
        errors.at(
            ident,
            format!(
                "the type for pushes would shadow the type `{name}`: rename it with \
                 `#[handler(push = \"{name}_task\")]`"
            ),
        );
    }
}

/// The type of the typed pushes, and its functions. An empty enum can have the
/// function's name, because types and values have separate namespaces. Unlike in a
/// module, local names are in scope.
pub(crate) fn pushes(
    function: &ItemFn,
    name: &str,
    options: &Options,
    signature: &Signature,
) -> (TokenStream, TokenStream) {
    let vis = &function.vis;
    let ident = options.push.as_ref().unwrap_or(&function.sig.ident);
    let parameters: Vec<TokenStream> = signature.parameters.iter().map(push_parameter).collect();
    let arguments: Vec<&Ident> = signature.parameters.iter().map(|p| &p.ident).collect();
    let start = match signature.parameters.as_slice() {
        [
            Parameter {
                ident,
                shape: Shape::Whole(_),
                ..
            },
        ] => quote!(::pgtq_sdk::Task::new(Self::NAME, &#ident)),
        all => {
            let typed = all.iter().map(|Parameter { name, ident, shape, .. }| match shape {
                Shape::Text(_) => quote!(.arg(#name, &::std::string::String::from(#ident))),
                Shape::OptionalText => quote! {
                    .arg(#name, &#ident.map(::std::string::String::from))
                },
                Shape::Required(ty) | Shape::Defaulted(ty, _) if is_string(ty) => {
                    quote!(.arg(#name, &::std::convert::Into::<#ty>::into(#ident)))
                }
                Shape::Required(ty) | Shape::Defaulted(ty, _) | Shape::Whole(ty) => {
                    quote_spanned!(ty.span()=> .arg::<#ty>(#name, &#ident))
                }
                Shape::Optional(ty) => {
                    quote_spanned!(ty.span()=> .arg::<::std::option::Option<#ty>>(#name, &#ident))
                }
            });
            quote!(::pgtq_sdk::Task::typed(Self::NAME) #(#typed)*)
        }
    };
    let about = format!("Typed pushes of the handler `{name}`.");
    let pushed = quote!(#[doc = #about] #vis enum #ident {});
    let functions = quote! {
        impl #ident {
            /// The name of the handler in tasks.
            #vis const NAME: &'static str = #name;

            /// Pushes a task. It is committed together with the success of the
            /// running attempt.
            #vis fn push(#(#parameters),*) -> ::pgtq_sdk::Result<()> {
                Self::task(#(#arguments),*).push()
            }

            /// Makes a task, to set its delay, queue or other options before `push()`.
            #vis fn task(#(#parameters),*) -> ::pgtq_sdk::Task {
                #start
            }
        }
    };
    (pushed, functions)
}

/// One parameter of the typed push.
fn push_parameter(parameter: &Parameter) -> TokenStream {
    let ident = &parameter.ident;
    match &parameter.shape {
        Shape::Required(ty) | Shape::Defaulted(ty, _) if is_string(ty) => {
            quote!(#ident: impl ::std::convert::Into<::std::string::String>)
        }
        Shape::Required(ty) | Shape::Defaulted(ty, _) | Shape::Whole(ty) => quote!(#ident: #ty),
        Shape::Optional(ty) => quote!(#ident: ::std::option::Option<#ty>),
        Shape::Text(_) => quote!(#ident: &str),
        Shape::OptionalText => quote!(#ident: ::std::option::Option<&str>),
    }
}
