//! What holds for all files that are made up.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::made::*;
use super::*;

/// The bytes of the value that a key leads to, and the end of what introduces it.
fn place(format: Format, text: &str, key: &KeyPath) -> Option<(usize, std::ops::Range<usize>)> {
    let tree = format.read(text).ok()?;
    match Finder::new(&tree.root, Aliases::Refuse).find(key) {
        Ok(Found::At(node)) => Some((node.after.unwrap_or(node.begin), node.begin..node.end)),
        _ => None,
    }
}

fn meaning(format: Format, text: &str, key: &KeyPath) -> Option<Value> {
    let tree = format.read(text).ok()?;
    match Finder::new(&tree.root, Aliases::Refuse).find(key) {
        Ok(Found::At(node)) => Some(Value::alone(node)),
        _ => None,
    }
}

/// Setting a key changes the bytes of its value alone, and says what it should.
fn sets_only_that(format: Format, text: &str, path: &str, made: &Made, value: &Scalar) -> TestCaseResult {
    let key = KeyPath::parse(path)?;
    let edited = set(format, text, &key, value);
    if !matches!(made, Made::Scalar(_)) {
        prop_assert!(edited.is_err());
        return Ok(());
    }
    let edited = edited.map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
    let (_, old) = place(format, text, &key).ok_or_else(|| TestCaseError::fail("lost"))?;
    let tail = text.len() - old.end;
    prop_assert_eq!(edited.get(..old.start), text.get(..old.start), "{}", text);
    let kept = text.get(old.end..).unwrap();
    // Where nothing stood, or lines of text, a blank or a line break may come and go with the value.
    let kept = if tail < text.len() {
        kept.trim_start_matches([' ', '\r', '\n'])
    } else {
        kept
    };
    prop_assert!(edited.ends_with(kept), "{}\n---\n{}", text, edited);
    prop_assert_eq!(
        meaning(format, &edited, &key),
        Some(Value::Scalar(value.meaning()))
    );
    prop_assert_eq!(&set(format, &edited, &key, value)?, &edited);
    Ok(())
}

/// A transfer of a key that both have, or only the source has.
fn transfers(
    format: Format,
    (source, from): &(String, Vec<(String, Made)>),
    (target, _): &(String, Vec<(String, Made)>),
    pick: prop::sample::Index,
) -> TestCaseResult {
    let key = KeyPath::parse(&pick.get(from).0)?;
    let keys = std::slice::from_ref(&key);
    match transfer(format, source, target, keys) {
        Ok(edited) => {
            prop_assert_eq!(meaning(format, &edited, &key), meaning(format, source, &key));
            prop_assert_eq!(&transfer(format, source, &edited, keys)?, &edited);
            // What is above the value and on the lines below it stays.
            // A table of TOML is known by its header alone.
            let place = place(format, target, &key).filter(|_| format != Format::Toml);
            if let Some((after, old)) = place {
                prop_assert_eq!(edited.get(..after), target.get(..after));
                let below = target.get(old.end..).unwrap();
                let below = if old.end > 0 && target.as_bytes()[old.end - 1] == b'\n' {
                    below
                } else {
                    below.split_once('\n').map_or("", |(_, below)| below)
                };
                prop_assert!(edited.ends_with(below), "{}\n---\n{}", target, edited);
            }
        }
        Err(error) => {
            // The way to the key is another in the target, or no item is there.
            let way = matches!(
                error.problem,
                Problem::NotAMap { .. } | Problem::NotAList { .. } | Problem::NoSuchItem { .. }
            ) || (format == Format::Toml && matches!(error.problem, Problem::Layout { .. }))
                // Behind a block scalar that ends the file without a line break nothing can be added.
                || (error.problem == Problem::Unfaithful && !target.ends_with('\n'));
            prop_assert!(
                way,
                "{}\n--- source\n{}\n--- target\n{}\n--- {}",
                error,
                source,
                target,
                key
            );
        }
    }
    Ok(())
}

fn scalars() -> impl Strategy<Value = Scalar> {
    let words = prop::sample::select(vec![
        "v2",
        "1.10",
        "true",
        "null",
        "",
        "a: b",
        "a #b",
        "[x",
        "it's",
        "two\nlines",
        "two\nlines\n",
        "\"",
        "\\",
        "- x",
        "日本",
        " x",
        "x\t",
        "yes",
        "\u{1}",
        "\u{2028}",
        "%",
        "@x",
        "---",
        "...",
        "&a",
        "*a",
        "!x",
        "a,b",
        "{",
        "0o7",
        "~",
        "\r",
    ]);
    prop_oneof![
        words.prop_map(|text| Scalar::Text(text.to_owned())),
        any::<String>().prop_map(Scalar::Text),
        Just(Scalar::Number("-1.50e3".to_owned())),
        any::<bool>().prop_map(Scalar::Truth),
        Just(Scalar::Null),
    ]
}

/// Text that is often nearly a file.
fn odd_text() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "a",
        "b",
        ":",
        ": ",
        "- ",
        "-",
        "\n",
        "\n  ",
        "\r\n",
        "\r",
        "#",
        " # c",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "|",
        ">",
        "|+\n",
        "&a ",
        "*a",
        "!t ",
        "!!str ",
        "? ",
        "<<: *a",
        "---\n",
        "...\n",
        "\t",
        "\u{feff}",
        "é",
        "\\",
        "=",
        "1.0",
        "true",
        "[[a]]\n",
        "[a]\n",
        "a = 1\n",
        "a.b = 'x'\n",
        "a: x\n",
        "b:\n  a: 1\n",
        "\u{85}",
        "\u{2028}",
        "\0",
        "%YAML 1.2\n",
        "\"a\": ",
        "null",
        "~",
        "``",
    ]);
    prop_oneof![
        prop::collection::vec(parts, 0..24).prop_map(|parts| parts.concat()),
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn setting_a_yaml_key_changes_its_value_alone(
        (text, found) in file(Format::Yaml, &YAML_SCALARS),
        pick in any::<prop::sample::Index>(),
        value in scalars(),
    ) {
        let (path, made) = pick.get(&found);
        sets_only_that(Format::Yaml, &text, path, made, &value)?;
    }

    #[test]
    fn setting_a_json_key_changes_its_value_alone(
        (text, found) in file(Format::Json, &JSON_SCALARS),
        pick in any::<prop::sample::Index>(),
        value in scalars(),
    ) {
        let (path, made) = pick.get(&found);
        sets_only_that(Format::Json, &text, path, made, &value)?;
    }

    #[test]
    fn setting_a_toml_key_changes_its_value_alone(
        (text, found) in file(Format::Toml, &TOML_SCALARS),
        pick in any::<prop::sample::Index>(),
        value in scalars().prop_filter("TOML has no null", |value| *value != Scalar::Null),
    ) {
        let (path, made) = pick.get(&found);
        sets_only_that(Format::Toml, &text, path, made, &value)?;
    }

    #[test]
    fn a_toml_transfer_says_what_the_source_says(
        source in file(Format::Toml, &TOML_SCALARS),
        target in file(Format::Toml, &TOML_SCALARS),
        pick in any::<prop::sample::Index>(),
    ) {
        transfers(Format::Toml, &source, &target, pick)?;
    }

    #[test]
    fn a_yaml_transfer_says_what_the_source_says(
        source in file(Format::Yaml, &YAML_SCALARS),
        target in file(Format::Yaml, &YAML_SCALARS),
        pick in any::<prop::sample::Index>(),
    ) {
        transfers(Format::Yaml, &source, &target, pick)?;
    }

    #[test]
    fn a_json_transfer_says_what_the_source_says(
        source in file(Format::Json, &JSON_SCALARS),
        target in file(Format::Json, &JSON_SCALARS),
        pick in any::<prop::sample::Index>(),
    ) {
        transfers(Format::Json, &source, &target, pick)?;
    }

    #[test]
    fn arbitrary_text_is_edited_faithfully_or_refused(
        source in odd_text(),
        target in odd_text(),
        key in prop::sample::select(vec!["a", "b", "a.b", "b.a", "a[0]", "[0]", "b[a=1]", "[0].a", "\"\""]),
        value in scalars(),
    ) {
        let key = KeyPath::parse(key).unwrap();
        for format in [Format::Yaml, Format::Json, Format::Toml] {
            if let Ok(edited) = transfer(format, &source, &target, std::slice::from_ref(&key)) {
                prop_assert_eq!(&transfer(format, &source, &edited, std::slice::from_ref(&key)).unwrap(), &edited);
            }
            if let Ok(edited) = set(format, &target, &key, &value) {
                prop_assert_eq!(&set(format, &edited, &key, &value).unwrap(), &edited);
                let got = get(format, &edited, &key).unwrap();
                prop_assert_eq!(got, Some(value.meaning().text().to_owned()));
            }
            if let Err(error) = get(format, &target, &key) {
                prop_assert!(error.line > 0 && error.column > 0);
            }
        }
    }

    #[test]
    fn arbitrary_key_paths_do_not_panic(path in any::<String>(), odd in "[a\\[\\]\"=.\\\\ *0-9]{0,12}") {
        for path in [path, odd] {
            if let Ok(key) = KeyPath::parse(&path) {
                prop_assert_eq!(KeyPath::parse(key.to_string()), Ok(key));
            }
        }
    }

    #[test]
    fn a_file_with_aliases_is_edited_faithfully_or_refused(
        (text, found) in file(Format::Yaml, &["&x v1", "*x", "&y 2", "*y", "plain", "&x other"]),
        pick in any::<prop::sample::Index>(),
    ) {
        // A file in which an alias comes before its anchor is not valid at all.
        let key = KeyPath::parse(&pick.get(&found).0).unwrap();
        let value = Scalar::Text("new".to_owned());
        if let (Ok(edited), Ok(before)) = (set(Format::Yaml, &text, &key, &value), Format::Yaml.read(&text)) {
            let after = Format::Yaml.read(&edited).unwrap();
            let aliases = |node: &tree::Node| {
                fn count(node: &tree::Node) -> (usize, usize) {
                    let own = (usize::from(matches!(node.kind, Kind::Alias(_))), usize::from(node.anchor.is_some()));
                    node.children().map(count).fold(own, |a, b| (a.0 + b.0, a.1 + b.1))
                }
                count(node)
            };
            prop_assert_eq!(aliases(&before.root), aliases(&after.root));
        }
    }
}
