//! Help pages, the command line, and the file of `config init`.

use clap::{CommandFactory, Parser};

use crate::config::keys::KEYS;
use crate::root::Root;

#[test]
fn the_command_line_is_consistent() {
    Root::command().debug_assert();
}

#[test]
fn every_verb_has_a_help_page() {
    let mut root = Root::command().term_width(100);
    root.build();
    let top = root.clone().render_help().to_string();
    insta::assert_snapshot!("help", top);
    for verb in root.get_subcommands_mut() {
        let name = format!("help_{}", verb.get_name().replace('-', "_"));
        // The global options are the same in all pages.
        let page = verb.clone().render_help().to_string();
        let own = page
            .split("\nGlobal options:")
            .next()
            .unwrap_or_default()
            .to_owned();
        insta::assert_snapshot!(name, own);
    }
}

#[test]
fn all_global_options_are_in_the_long_help() {
    let mut root = Root::command().term_width(100);
    let page = root.render_long_help().to_string();
    let globals = page.split("Global options:").nth(1).unwrap_or_default();
    insta::assert_snapshot!("help_global_options", globals);
}

/// The default after the environment variable of a setting in a help text: `[default: 8s]`.
fn default_in_help<'a>(help: &'a str, env: &str) -> Option<&'a str> {
    let (_, after) = help.split_once(&format!("[env: {env}]"))?;
    let (default, _) = after.split_once("[default: ")?.1.split_once(']')?;
    Some(default)
}

#[test]
fn defaults_in_help_pages_equal_those_of_the_settings() {
    let mut n_compared = 0;
    let mut verbs = vec![Root::command()];
    while let Some(verb) = verbs.pop() {
        for argument in verb.get_arguments() {
            let help = argument.get_help().unwrap_or_default().to_string();
            for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
                if let Some(default) = default_in_help(&help, key.env) {
                    assert_eq!(default, key.default, "{} of {}", key.env, verb.get_name());
                    n_compared += 1;
                }
            }
        }
        verbs.extend(verb.get_subcommands().cloned());
    }
    assert!(n_compared >= 5, "{n_compared} defaults were found");
}

#[test]
fn wait_takes_a_duration_only_after_an_equals_sign() {
    let parse = |words: &[&str]| Root::try_parse_from(words).map(drop).map_err(|e| e.kind());
    assert_eq!(parse(&["pgtq", "push", "add", "a=2", "--wait"]), Ok(()));
    assert_eq!(parse(&["pgtq", "push", "--wait", "add", "a=2"]), Ok(()));
    assert_eq!(parse(&["pgtq", "push", "add", "--wait=30s"]), Ok(()));
    assert!(parse(&["pgtq", "push", "add", "--wait=30"]).is_err());
    assert!(parse(&["pgtq", "push", "add", "--batch", "x", "--wait"]).is_err());
    assert!(parse(&["pgtq", "push"]).is_err());
    assert_eq!(parse(&["pgtq", "push", "--batch", "x"]), Ok(()));
    assert_eq!(parse(&["pgtq", "push", "add", "-"]), Ok(()));
    assert_eq!(
        parse(&["pgtq", "push", "add", "--priority", "-5", "n=1"]),
        Ok(())
    );
}

#[test]
fn completions_name_every_verb() {
    let mut script = Vec::new();
    clap_complete::generate(
        clap_complete::Shell::Bash,
        &mut Root::command(),
        "pgtq",
        &mut script,
    );
    let script = String::from_utf8(script).unwrap();
    for verb in Root::command()
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
    {
        assert!(script.contains(verb.get_name()), "{}", verb.get_name());
    }
}

#[test]
fn the_file_of_config_init_contains_the_defaults() {
    let template = crate::verbs::config::template();
    let uncommented: String = template
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.contains(" = ") || rest.starts_with('['))
        })
        .zip(template.lines())
        .map(|(inner, line)| format!("{}\n", inner.unwrap_or(line)))
        .collect();
    let none = |_: &str| None;
    let read = |files: &[(std::path::PathBuf, String)]| {
        let layers = crate::config::Layers::merge(&[], &none, files).unwrap();
        crate::config::Config::from_layers(layers, &none).unwrap()
    };
    let (with, without) = (read(&[("pgtq.toml".into(), uncommented)]), read(&[]));
    assert_eq!(with.limits, without.limits);
    assert_eq!(with.caps, without.caps);
    assert_eq!(with.run.plugins, without.run.plugins);
    assert_eq!(with.database, without.database);
    assert_eq!(with.handlers.len(), 1);
    assert_eq!(with.grants.plugins["mailer"].grant.networks.len(), 3);
    assert_eq!(with.grants.secrets.len(), 3);
}
