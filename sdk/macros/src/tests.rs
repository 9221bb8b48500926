//! Snapshots of expansions, formatted. `cargo insta review` (or `INSTA_UPDATE=always`)
//! accepts a change.

use proc_macro2::TokenStream;
use quote::quote;

use crate::expand;

fn check(name: &str, options: TokenStream, function: &TokenStream) {
    let expansion = expand::handler(options, function);
    let file: syn::File = syn::parse2(expansion).expect("an expansion is a list of items");
    insta::assert_snapshot!(name, prettyplease::unparse(&file));
}

/// The error messages of an invocation, in order.
fn errors(options: TokenStream, function: &TokenStream) -> Vec<String> {
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
fn the_needs_of_a_handler() {
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
fn all_errors_of_one_invocation_are_reported() {
    let found = errors(
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
            "a handler cannot be `async`: remove it; a handler may block, because it has its own \
             sandbox",
            "a handler cannot be generic: write concrete types",
            "a handler must be a free function: remove `self`",
            "a handler owns its arguments: write the type without `&mut`",
            "`&Ctx` must be the first parameter of a handler",
        ]
    );
}

#[test]
fn errors_in_options_say_what_to_write() {
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
            quote!(retries = -1),
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
            "the first delay exceeds the longest delay: write the shorter delay first",
        ),
        (
            quote!(name = "a b"),
            "a name is made of A-Z a-z 0-9 _ . : -",
        ),
        (
            quote!(queue = mail),
            "write a name in quotes, as in `\"mail.send\"`",
        ),
        (
            quote!(push = csv_task),
            "write a type name in quotes, as in `push = \"csv_task\"`",
        ),
        (
            quote!(push = "csv-task"),
            "write a type name in quotes, as in `push = \"csv_task\"`",
        ),
        (
            quote!(push = "u8"),
            "the type for pushes would shadow the type `u8`: rename it with \
             `#[handler(push = \"u8_task\")]`",
        ),
        (quote!(extra = deny), "the only value is `allow`"),
        (
            quote!(retries(5)),
            "`retries` takes `=`: write `retries = ...`",
        ),
        (
            quote!(needs),
            "list capabilities (http, tcp, sql, secret, files, push), as in `needs(http = \"https://api.example.com\", sql)`",
        ),
        (
            quote!(needs = "sql"),
            "list capabilities (http, tcp, sql, secret, files, push), as in `needs(http = \"https://api.example.com\", sql)`",
        ),
        (
            quote!(needs()),
            "list capabilities (http, tcp, sql, secret, files, push), as in `needs(http = \"https://api.example.com\", sql)`",
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
            "`#[handler]` has no option `cron`: the options are name, push, retries, \
             backoff, timeout, memory, fuel, queue, priority, extra, needs",
        ),
    ] {
        assert_eq!(
            errors(
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

#[test]
fn references_and_dependent_defaults_are_rejected() {
    const INSIDE: &str = "a type inside an argument cannot be a reference: write `String` instead \
                          of `&str` and `T` instead of `&T` (only `&str` and `Option<&str>` are \
                          borrowed)";
    const STATIC: &str = "an argument is dropped when the handler returns: write `&str`, or \
                          `String` to own it";
    const OTHER: &str = "a default cannot depend on another argument, because the manifest contains \
                         its value: make `b` an `Option` and write `b.unwrap_or(a)` in the function";
    for (arguments, message) in [
        (quote!(a: &'static str), Some(STATIC)),
        (quote!(a: Option<&'static str>), Some(STATIC)),
        (
            quote!(a: &mut Ctx),
            Some("the context is shared: write `&Ctx`"),
        ),
        (quote!(a: Vec<&str>), Some(INSIDE)),
        (quote!(a: Option<Vec<&str>>), Some(INSIDE)),
        (quote!(a: Json<&str>), Some(INSIDE)),
        (quote!(a: (u8, [&str; 2])), Some(INSIDE)),
        (quote!(a: HashMap<String, Option<&u8>>), Some(INSIDE)),
        (quote!(a: Option<&str>), None),
        (quote!(a: &'_ str), None),
        (quote!(a: u8, #[default(a)] b: u8), Some(OTHER)),
        (quote!(a: &str, #[default(f(&a[1..]))] b: &str), Some(OTHER)),
        (quote!(a: u8, #[default(Size { a })] b: Size), Some(OTHER)),
        (
            quote!(a: u8, #[default(Size { a: 1 }.a + a::f())] b: u8),
            None,
        ),
        (quote!(#[default(a())] a: u8, b: u8), None),
        (quote!(#[default(a() + c(2))] b: u8, a: u8, c: u8), None),
        (quote!(#[default(a + 1)] b: u8, a: u8), Some(OTHER)),
        (quote!(vec: u8, #[default(vec![1])] b: Vec<u8>), None),
        (quote!(a: u8, #[default(a())] b: u8), Some(OTHER)),
    ] {
        let found = errors(quote!(), &quote!(fn f(#arguments) {}));
        assert_eq!(found, Vec::from_iter(message), "{arguments}");
    }
}

#[test]
fn different_names_give_different_identifiers() {
    let parts = [
        "a", "_", ".", "-", ":", "dot", "dash", "colon", "_dot_", "__",
    ];
    let mut words = std::collections::BTreeMap::new();
    for n in 0..10_000 {
        let digits = [n % 10, n / 10 % 10, n / 100 % 10, n / 1000];
        let name: String = digits.iter().map(|&digit| parts[digit]).collect();
        let other = words.insert(expand::word(&name), name.clone());
        assert!(other.is_none_or(|other| other == name), "{name}");
    }
}
