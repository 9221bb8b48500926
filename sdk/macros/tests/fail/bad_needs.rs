use pgtq_sdk::prelude::*;

#[handler(needs(
    http = ["https://api.example.com", "api.example.com"],
    htp = "https://a.example",
    tcp = "smtp.example.com",
    secret = "my key",
    files = "data",
    disk = "/data",
    sql = "reports",
    http = 5,
    push = ["mail send", "mail.* queue=b,"],
))]
fn send() {}

#[handler(needs = "sql")]
fn flat() {}

fn main() {}
