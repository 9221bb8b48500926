use super::*;
use pgtq_task::ErrorKind;

fn redactor(value: &str) -> Arc<Redactor> {
    Redactor::new([("key", value)].into_iter()).expect("something to hide")
}

#[track_caller]
fn check(value: &str, text: &str, hidden: &str) {
    assert_eq!(redactor(value).hide(text), hidden);
}

#[test]
fn a_secret_is_hidden_in_every_form_that_it_takes_by_accident() {
    check(
        "s3cr3t!",
        "the key s3cr3t!, twice: s3cr3t!",
        "the key [secret:key], twice: [secret:key]",
    );
    check("s3 cr/t", "?key=s3%20cr%2Ft&b", "?key=[secret:key]&b");
    check("s3 cr/t", "?key=s3%20cr%2ft&b", "?key=[secret:key]&b");
    check("s3 cr/t", "?key=s3+cr%2Ft&b", "?key=[secret:key]&b");
    check("pa\"ss\n", r#"{"a":"pa\"ss\n"}"#, r#"{"a":"[secret:key]"}"#);
    check("s3cr3t!", &STANDARD.encode("s3cr3t!"), "[secret:key]");
    check("ÿÿþÿ", &URL_SAFE_NO_PAD.encode("ÿÿþÿ"), "[secret:key]");
}

#[test]
fn a_secret_inside_of_base64_is_hidden_wherever_it_begins() {
    let secret = "correct horse battery";
    for user in ["", "a:", "me:", "you:", "user:"] {
        let text = STANDARD.encode(format!("{user}{secret}"));
        let hidden = redactor(secret).hide(&text).into_owned();
        assert!(hidden.contains("[secret:key]"), "{text} is {hidden}");
        assert!(hidden.len() <= "[secret:key]".len() + 12, "{hidden}");
    }
}

#[test]
fn each_line_of_a_long_secret_is_hidden_by_itself() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----\n";
    check(key, "read MIIEvQIBADANBgkq", "read [secret:key]");
}

#[test]
fn a_value_too_short_to_be_one_is_not_looked_for() {
    assert!(Redactor::new([("pin", "abc")].into_iter()).is_none());
    assert!(Redactor::of(&Grant::default(), &GrantBook::default()).is_none());
}

#[test]
fn what_takes_a_secrets_place_is_not_searched_again() {
    check("secret", "a secret!", "a [secret:key]!");
    let two = [("a", "tokentoken"), ("b", "token")];
    let both = Redactor::new(two.into_iter()).expect("something to hide");
    assert_eq!(both.hide("tokentoken token"), "[secret:a] [secret:b]");
}

#[test]
fn an_ending_shows_no_secret_nor_does_its_result() {
    let failure = Failure {
        code: "hunter2!".into(),
        details: Some(r#"{"sent":"hunter2!"}"#.into()),
        backtrace: vec!["at hunter2!".into()],
        ..Failure::new(ErrorKind::Error, "401 for Bearer hunter2!")
    };
    let mut outcome = Outcome::Fail { failure };
    redactor("hunter2!").hide_in(&mut outcome);
    let shown = format!("{outcome:?}");
    assert!(!shown.contains("hunter2!"), "{shown}");
    assert_eq!(shown.matches("[secret:key]").count(), 4, "{shown}");

    // JSON stays JSON.
    for (value, result, shown) in [
        ("hunter2!", "\"hunter2!\"", "\"[secret:key]\""),
        ("12345678", "{\"pin\":12345678}", "\"[secret]\""),
    ] {
        let result = result.to_owned();
        let mut outcome = Outcome::Complete { result };
        redactor(value).hide_in(&mut outcome);
        let result = shown.to_owned();
        assert_eq!(outcome, Outcome::Complete { result });
    }
}

/// Values that begin alike, and with each other: the longest that is there is found.
#[test]
fn the_longest_of_many_forms_is_found_wherever_texts_begin_alike() {
    let values = [
        "abcd", "abcdef", "abcdefgh", "abcdz", "abce", "bcde", "abcdefgi", "dabc",
    ];
    let names: Vec<String> = (0..values.len()).map(|n| format!("k{n}")).collect();
    let secrets = names.iter().map(String::as_str).zip(values);
    let redactor = Redactor::new(secrets.clone()).expect("something to hide");
    let naive = |text: &str| {
        let (mut hidden, mut rest) = (String::new(), text);
        while let Some(next) = rest.chars().next() {
            let fits = secrets.clone().filter(|(_, value)| rest.starts_with(value));
            match fits.max_by_key(|(_, value)| value.len()) {
                Some((name, value)) => {
                    hidden.push_str(&format!("[secret:{name}]"));
                    rest = &rest[value.len()..];
                }
                None => {
                    hidden.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        hidden
    };
    let parts = [
        "a", "b", "abc", "abcd", "def", "efg", "h", "z", "dab", "é", "abcdefg",
    ];
    for a in parts {
        for b in parts {
            for c in parts {
                for d in parts {
                    let text = format!("{a}{b}{c}{d}");
                    assert_eq!(redactor.hide(&text), naive(&text), "{text}");
                }
            }
        }
    }
}
