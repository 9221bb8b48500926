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

/// Names that stand for types before a crate has said anything.
const PRIMITIVES: &str = " bool char f16 f32 f64 f128 i8 i16 i32 i64 i128 isize str u8 u16 u32 \
                          u64 u128 usize ";

/// Of the names that a type of pushes cannot have, those that can be seen from
/// here. Crates and modules cannot; the guide explains what the compiler says.
pub(crate) fn check_push(function: &Ident, options: &Options, errors: &Errors) {
    let ident = options.push.as_ref().unwrap_or(function);
    let name = plain_name(ident);
    if PRIMITIVES.contains(&format!(" {name} ")) {
        errors.at(
            ident,
            format!(
                "the type that pushes this handler would hide the type `{name}`: name it with \
                 `#[handler(push = \"{name}_task\")]`"
            ),
        );
    }
}

/// The typed push: a type and its functions. An empty enum shares the function's
/// name, as types and values have namespaces of their own; unlike a module it sees
/// local names.
pub(crate) fn pushes(
    function: &ItemFn,
    name: &str,
    options: &Options,
    signature: &Signature,
) -> (TokenStream, TokenStream) {
    let vis = &function.vis;
    let ident = options.push.as_ref().unwrap_or(&function.sig.ident);
    let takes: Vec<TokenStream> = signature.parameters.iter().map(taken).collect();
    let gives: Vec<&Ident> = signature.parameters.iter().map(|p| &p.ident).collect();
    let start = match signature.parameters.as_slice() {
        [
            Parameter {
                ident,
                shape: Shape::Whole(_),
                ..
            },
        ] => quote!(::pgtq_sdk::Task::new(Self::NAME, &#ident)),
        all => {
            let arguments = all.iter().map(|Parameter { name, ident, shape, .. }| match shape {
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
            quote!(::pgtq_sdk::Task::typed(Self::NAME) #(#arguments)*)
        }
    };
    let about = format!("Typed pushes of the handler `{name}`.");
    let pushed = quote!(#[doc = #about] #vis enum #ident {});
    let functions = quote! {
        impl #ident {
            /// What tasks call this handler.
            #vis const NAME: &'static str = #name;

            /// Pushes a task, committed together with the success of the
            /// attempt that is under way.
            #vis fn push(#(#takes),*) -> ::pgtq_sdk::Result<()> {
                Self::task(#(#gives),*).push()
            }

            /// A task to be given a delay, a queue and the like before its `push()`.
            #vis fn task(#(#takes),*) -> ::pgtq_sdk::Task {
                #start
            }
        }
    };
    (pushed, functions)
}

/// One parameter of the typed push.
fn taken(parameter: &Parameter) -> TokenStream {
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
