use pgtq_sdk::prelude::*;

struct Mailer;

impl Mailer {
    #[handler]
    fn send(&self, to: String) {}
}

fn main() {}
