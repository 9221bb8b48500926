//! Golden expansions: what the attribute writes for a function, as a person
//! would read it. `cargo insta review` (or `INSTA_UPDATE=always`) accepts a change.

use proc_macro2::TokenStream;
use quote::quote;

use crate::expand;

fn check(name: &str, options: TokenStream, function: &TokenStream) {
    let expansion = expand::handler(options, function);
    let file: syn::File = syn::parse2(expansion).expect("an expansion is a list of items");
    insta::assert_snapshot!(name, prettyplease::unparse(&file));
}

/// The messages of an invocation with mistakes, in order.
fn mistakes(options: TokenStream, function: &TokenStream) -> Vec<String> {
    let expansion = expand::handler(options, function);
    let file: syn::File = syn::parse2(expansion).expect("an expansion is a list of items");
    let macros = file.items.into_iter().filter_map(|item| match item {
        syn::Item::Macro(item) => item.mac.parse_body::<syn::LitStr>().ok(),
        _ => None,
    });
    macros.map(|text| text.value()).collect()
}

#[test]
fn two_numbers() {
    check(
        "two_numbers",
        quote!(),
        &quote! {
            /// Add two numbers.
            fn add_numbers(a: i64, b: i64) -> i64 {
                a + b
            }
        },
    );
}

#[test]
fn every_option_and_every_kind_of_argument() {
    check(
        "every_option",
        quote! {
            name = "media.thumbnail", retries = forever, backoff = exponential(10s..1h30m),
            timeout = 30s, memory = 64MiB, fuel = 1_000_000, queue = "media", priority = -5,
            extra = allow
        },
        &quote! {
            /// Make a thumbnail.
            ///
            /// It says "done" when it is done.
            pub fn thumbnail(
                ctx: &Ctx,
                /// Row in `images`.
                image_id: u64,
                name: String,
                title: &str,
                note: Option<String>,
                #[default(256)] size: u32,
            ) -> Result<Thumbnail> {
                images::thumbnail(ctx, image_id, size)
            }
        },
    );
}

#[test]
fn the_whole_payload() {
    check(
        "whole_payload",
        quote!(),
        &quote! {
            fn charge(Json(order): Json<Order>) -> Result<(), ChargeError> {
                order.charge()
            }
        },
    );
}

#[test]
fn what_a_handler_needs() {
    check(
        "needs",
        quote! {
            needs(
                http = "post https://API.mail.example:443/v3/*", sql, secret = "stripe",
                http = ["https://*", "http://127.0.0.1:*"], tcp = "smtp.example.com:587",
                files = "/data", secret = "signing", push = ["notify", "mail.* queue=mail"],
            )
        },
        &quote! {
            fn send() {}
        },
    );
}

#[test]
fn all_mistakes_of_one_invocation_are_reported() {
    let found = mistakes(
        quote!(retries = 5, timout = 30s, memory = 64, retries = 6),
        &quote! {
            async fn send<T>(&self, a: &mut String, ctx: &Ctx) {}
        },
    );
    assert_eq!(
        found,
        [
            "`#[handler]` has no option `timout`: did you mean `timeout`?",
            "a size needs a unit: write `64MiB` (or KiB, GiB)",
            "`retries` is given twice",
            "a handler is not `async`: it has a sandbox of its own and may simply take its time",
            "a handler is not generic: tasks carry no types, so write the types out",
            "a handler is a free function: it has no `self`",
            "a handler owns its arguments: write the type without `&mut`",
            "`&Ctx` is the first parameter of a handler",
        ]
    );
}

#[test]
fn values_of_options_are_explained() {
    for (options, message) in [
        (
            quote!(retries),
            "`retries` needs a value: write `retries = ...`",
        ),
        (
            quote!(retries = often),
            "write `retries = 5` or `retries = forever`",
        ),
        (
            quote!(retries = 5s),
            "write a whole number, as in `retries = 5` or `retries = forever`",
        ),
        (
            quote!(backoff = 10s),
            "write `backoff = exponential(10s..1h)`: first delay, longest delay",
        ),
        (
            quote!(backoff = exponential(2h..1h)),
            "the first delay is longer than the longest",
        ),
        (
            quote!(name = "a b"),
            "a name is made of A-Z a-z 0-9 _ . : -",
        ),
        (
            quote!(queue = mail),
            "write a name in quotes, as in `\"mail.send\"`",
        ),
        (quote!(extra = deny), "write `allow`"),
        (
            quote!(retries(5)),
            "`retries` takes `=`: write `retries = ...`",
        ),
        (
            quote!(needs),
            "write `needs(http = \"https://api.example.com\", sql)`: any of http, tcp, sql, secret, files, push",
        ),
        (
            quote!(needs = "sql"),
            "write `needs(http = \"https://api.example.com\", sql)`: any of http, tcp, sql, secret, files, push",
        ),
        (
            quote!(needs()),
            "write `needs(http = \"https://api.example.com\", sql)`: any of http, tcp, sql, secret, files, push",
        ),
        (
            quote!(needs(sql = true)),
            "`sql` has no value: write `sql` alone",
        ),
        (quote!(needs(sql, sql)), "`sql` is given twice"),
        (
            quote!(needs(http)),
            "`http` needs a value: write `http = \"https://api.example.com\"`",
        ),
        (
            quote!(needs(http = "https://a", http = ["https://A/"])),
            "`https://a` is given twice",
        ),
        (
            quote!(cron = "0 3 * * *"),
            "`#[handler]` has no option `cron`: the options are name, retries, backoff, \
             timeout, memory, fuel, queue, priority, extra, needs",
        ),
    ] {
        assert_eq!(
            mistakes(
                options.clone(),
                &quote!(
                    fn f() {}
                )
            ),
            [message],
            "{options}"
        );
    }
}
