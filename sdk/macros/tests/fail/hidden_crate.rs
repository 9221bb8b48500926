use pgtq_sdk::prelude::*;

mod resize {}

#[handler]
fn resize(edge: u32) {}

#[handler]
fn syn(text: String) -> Result<()> {
    syn::parse_str::<syn::Ident>(&text)?;
    Ok(())
}

#[handler]
fn str(text: String) {}

fn main() {}
