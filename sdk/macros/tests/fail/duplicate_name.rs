use pgtq_sdk::prelude::*;

#[handler(name = "mail.send")]
fn send() {}

mod other {
    use pgtq_sdk::prelude::*;

    #[handler(name = "mail.send")]
    fn post() {}
}

fn main() {}
