//! The expansion of `#[handler]`.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, ItemFn};

use crate::describe;
use crate::errors::Errors;
use crate::options::Options;
use crate::pushes::{check_push, pushes};
use crate::shape::{Parameter, Shape};
use crate::signature::{self, Returns, Signature};
use crate::tokens::{is_string, plain_name};

/// The expansion. If there are errors, the unchanged function and the errors.
pub(crate) fn handler(options: TokenStream, item: &TokenStream) -> TokenStream {
    let mut function: ItemFn = match syn::parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let message = match syn::parse2::<syn::Item>(item.clone()) {
                Ok(_) => {
                    syn::Error::new_spanned(item, "`#[handler]` can only be applied to functions")
                }
                Err(_) => error,
            };
            let message = message.into_compile_error();
            return quote!(#message #item);
        }
    };
    let errors = Errors::default();
    let options = Options::parse(options, &errors);
    let mut signature = signature::read(&mut function, options.name.is_some(), &errors);
    check_push(&function.sig.ident, &options, &errors);
    if let Some(errors) = errors.into_tokens() {
        return quote!(#function #errors);
    }
    let (name, name_span) = match &options.name {
        Some(literal) => (literal.value(), literal.span()),
        None => (plain_name(&function.sig.ident), function.sig.ident.span()),
    };
    let (pushed, pushes) = pushes(&function, &name, &options, &signature);
    unshadow(&function.sig.ident, &mut signature);
    let registration = registration(&function, &name, &options, &signature);
    let unique = unique(&name, name_span);
    // A `#[cfg]` below this attribute also applies to the generated items.
    let is_cfg = |attribute: &&Attribute| attribute.path().is_ident("cfg");
    let cfg: Vec<&Attribute> = function.attrs.iter().filter(is_cfg).collect();
    quote! {
        #function
        #(#cfg)* #[allow(non_camel_case_types, dead_code)] #pushed
        #(#cfg)* #[allow(dead_code)] #pushes
        #(#cfg)* #registration
        #(#cfg)* #unique
    }
}

/// Renames the local variable of a parameter that has the name of the function, which
/// it would shadow at the call. The name in the payload stays the same.
fn unshadow(function: &Ident, signature: &mut Signature) {
    for parameter in &mut signature.parameters {
        if parameter.ident == *function {
            parameter.ident = format_ident!("__pgtq_{}", parameter.ident);
        }
    }
}

/// The registry entry for the SDK, and the section record, which a runner reads
/// without running the file.
fn registration(
    function: &ItemFn,
    name: &str,
    options: &Options,
    signature: &Signature,
) -> TokenStream {
    let ident = &function.sig.ident;
    let docs = signature::docs(&function.attrs);
    let info = describe::info(name, &docs, options, signature);
    let (section, length) = section(&info);
    let decoding = decoding(options, signature);
    let schema = schema(options, signature);
    let ctx = signature
        .takes_ctx
        .then(|| quote!(&::pgtq_sdk::__private::ctx()));
    let arguments = signature
        .parameters
        .iter()
        .map(|Parameter { ident, shape, .. }| match shape {
            Shape::Text(_) => quote!(&#ident),
            Shape::OptionalText => quote!(#ident.as_deref()),
            _ => quote!(#ident),
        });
    let arguments = ctx.into_iter().chain(arguments);
    let kind = match signature.returns {
        Returns::Plain => quote!(::pgtq_sdk::__private::Plain),
        Returns::Fallible => quote!(::pgtq_sdk::__private::Fallible),
        Returns::Inferred => quote!(_),
    };
    let call = quote_spanned! {signature.return_span=>
        ::pgtq_sdk::__private::returned::<#kind, _>(#ident(#(#arguments),*))
    };
    quote! {
        const _: () = {
            fn __pgtq_run(__pgtq_text: &str) -> ::pgtq_sdk::Result<::std::string::String> {
                #decoding
                #call
            }

            fn __pgtq_schema(__pgtq_schema: &mut ::pgtq_sdk::__private::ArgumentsSchema) {
                #schema
            }

            ::pgtq_sdk::__private::inventory::submit! {
                ::pgtq_sdk::__private::Entry {
                    name: #name,
                    info: #info,
                    plugin: (
                        ::std::env!("CARGO_PKG_NAME"),
                        ::std::env!("CARGO_PKG_VERSION"),
                    ),
                    run: __pgtq_run,
                    schema: __pgtq_schema,
                }
            }

            #[cfg(target_arch = "wasm32")]
            #[used]
            #[unsafe(link_section = "pgtq.handlers")]
            static __PGTQ_SECTION: [u8; #length] = *#section;
        };
    }
}

/// The section record: the length as a little-endian u32, then the JSON.
fn section(info: &str) -> (Literal, Literal) {
    let length = u32::try_from(info.len()).expect("a doc comment is shorter than 4 GiB");
    let mut record = length.to_le_bytes().to_vec();
    record.extend_from_slice(info.as_bytes());
    let count = Literal::usize_unsuffixed(record.len());
    (Literal::byte_string(&record), count)
}

fn decoding(options: &Options, signature: &Signature) -> TokenStream {
    let arguments = quote!(::pgtq_sdk::__private::Arguments);
    if let [
        Parameter {
            ident,
            shape: Shape::Whole(ty),
            ..
        },
    ] = signature.parameters.as_slice()
    {
        let expected = type_text(ty);
        return quote_spanned! {ty.span()=>
            let #ident = #arguments::whole::<#ty>(__pgtq_text, #expected)?;
        };
    }
    let names = signature.parameters.iter().map(|p| &p.name);
    let extra = options.extra;
    let steps = signature.parameters.iter().map(|Parameter { name, ident, shape, .. }| {
        match shape {
            Shape::Required(ty) | Shape::Whole(ty) => {
                let expected = type_text(ty);
                quote_spanned!(ty.span()=> let #ident = __pgtq_arguments.required::<#ty>(#name, #expected)?;)
            }
            Shape::Optional(ty) => {
                let expected = type_text(ty);
                quote_spanned!(ty.span()=> let #ident = __pgtq_arguments.optional::<#ty>(#name, #expected)?;)
            }
            Shape::Defaulted(ty, default) => {
                let (expected, default) = (type_text(ty), default_value(ty, default));
                quote_spanned!(ty.span()=> let #ident = __pgtq_arguments.or_default::<#ty>(#name, #expected, || #default)?;)
            }
            Shape::OptionalText => {
                quote!(let #ident = __pgtq_arguments.optional::<::std::string::String>(#name, "String")?;)
            }
            Shape::Text(None) => {
                quote!(let #ident = __pgtq_arguments.required::<::std::string::String>(#name, "String")?;)
            }
            Shape::Text(Some(default)) => quote! {
                let #ident = __pgtq_arguments.or_default::<::std::string::String>(
                    #name, "String", || ::std::string::String::from(#default)
                )?;
            },
        }
    });
    let start = match signature.parameters.is_empty() {
        true => quote!(#arguments::parse(__pgtq_text, &[], #extra)?;),
        false => quote! {
            let mut __pgtq_arguments =
                #arguments::parse(__pgtq_text, &[#(#names),*], #extra)?;
        },
    };
    quote!(#start #(#steps)*)
}

fn schema(options: &Options, signature: &Signature) -> TokenStream {
    let steps = signature.parameters.iter().map(|Parameter { name, shape, docs, .. }| match shape {
        Shape::Whole(ty) => quote_spanned!(ty.span()=> __pgtq_schema.whole::<#ty>();),
        Shape::Required(ty) => {
            quote_spanned!(ty.span()=> __pgtq_schema.required::<#ty>(#name, #docs);)
        }
        Shape::Optional(ty) => {
            quote_spanned!(ty.span()=> __pgtq_schema.optional::<::std::option::Option<#ty>>(#name, #docs);)
        }
        Shape::Defaulted(ty, default) => {
            let default = default_value(ty, default);
            quote_spanned!(ty.span()=> __pgtq_schema.defaulted::<#ty>(#name, #docs, #default);)
        }
        Shape::OptionalText => quote! {
            __pgtq_schema.optional::<::std::option::Option<::std::string::String>>(#name, #docs);
        },
        Shape::Text(None) => {
            quote!(__pgtq_schema.required::<::std::string::String>(#name, #docs);)
        }
        Shape::Text(Some(default)) => quote! {
            __pgtq_schema.defaulted::<::std::string::String>(
                #name, #docs, ::std::string::String::from(#default)
            );
        },
    });
    let extra = options.extra.then(|| quote!(__pgtq_schema.allow_extra();));
    quote!(#(#steps)* #extra)
}

/// Converts the default of a `String` parameter from a string literal; other defaults
/// stay as written.
fn default_value(ty: &syn::Type, default: &syn::Expr) -> TokenStream {
    if is_string(ty) {
        quote!(::std::string::String::from(#default))
    } else {
        quote!(#default)
    }
}

/// A type with the usual spacing, for error messages.
fn type_text(ty: &syn::Type) -> String {
    ty.to_token_stream()
        .to_string()
        .replace(" < ", "<")
        .replace(" >", ">")
        .replace(" :: ", "::")
        .replace(" ,", ",")
}

/// An exported macro named after the handler. Exported macros share one namespace per
/// crate, so the compiler rejects two handlers with one name, even in different
/// modules, and points at both.
fn unique(name: &str, span: Span) -> TokenStream {
    let word = word(name);
    let ident = format_ident!("duplicate_handler_name_{word}", span = span);
    quote! {
        #[doc(hidden)]
        #[allow(unused_macros, non_local_definitions)]
        #[macro_export]
        macro_rules! #ident {
            () => {};
        }
    }
}

/// The name as a part of an identifier. Different names give different identifiers:
/// each character becomes itself or one of four strings, none of which is a prefix of
/// another.
pub(crate) fn word(name: &str) -> String {
    let parts = name.chars().map(|c| match c {
        '_' => "__".to_owned(),
        '.' => "_dot_".to_owned(),
        ':' => "_colon_".to_owned(),
        '-' => "_dash_".to_owned(),
        c => c.to_string(),
    });
    parts.collect()
}
