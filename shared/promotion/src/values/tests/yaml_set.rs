use super::*;

#[test]
fn a_scalar_is_set_in_the_quotes_that_stand_there() {
    let text = |text: &str| Scalar::Text(text.to_owned());
    let number = |text: &str| Scalar::Number(text.to_owned());
    for (before, value, after) in [
        ("a: v1 # c\n", text("v2"), "a: v2 # c\n"),
        ("a: 'v1'\n", text("it's"), "a: 'it''s'\n"),
        ("a: \"v1\"\n", text("v2"), "a: \"v2\"\n"),
        (
            "a: \"v1\"\n",
            text("say \"x\" \\ \u{1}"),
            "a: \"say \\\"x\\\" \\\\ \\x01\"\n",
        ),
        ("a: 'v1'\n", text("two\nlines"), "a: \"two\\nlines\"\n"),
        ("a: v1\n", text("1.10"), "a: \"1.10\"\n"),
        ("a: v1\n", text("true"), "a: \"true\"\n"),
        ("a: v1\n", text("null"), "a: \"null\"\n"),
        ("a: v1\n", text(""), "a: \"\"\n"),
        ("a: v1\n", text("yes"), "a: \"yes\"\n"),
        ("a: v1\n", text("12:30:45"), "a: \"12:30:45\"\n"),
        ("a: v1\n", text("2024-01-02"), "a: \"2024-01-02\"\n"),
        ("a: v1\n", text("1e3"), "a: \"1e3\"\n"),
        ("a: v1\n", text("0x1F"), "a: \"0x1F\"\n"),
        ("a: v1\n", text("1.2.3"), "a: 1.2.3\n"),
        ("a: v1\n", text("sha256:abc"), "a: sha256:abc\n"),
        ("a: v1\n", text("a: b"), "a: \"a: b\"\n"),
        ("a: v1\n", text("a #b"), "a: \"a #b\"\n"),
        ("a: v1\n", text("*a"), "a: \"*a\"\n"),
        ("a: v1\n", text(" a"), "a: \" a\"\n"),
        ("a: \"1\"\n", number("2"), "a: 2\n"),
        ("a: 1\n", number("1.50"), "a: 1.50\n"),
        ("a: 1\n", text("1"), "a: \"1\"\n"),
        ("a: \"1\"\n", text("1"), "a: \"1\"\n"),
        ("a: x\n", Scalar::Truth(true), "a: true\n"),
        ("a: x\n", Scalar::Null, "a: null\n"),
        (
            "a: |\n  x\nb: 1\n",
            text("one\n\ntwo\n"),
            "a: |\n  one\n\n  two\nb: 1\n",
        ),
        ("a: >\n  x\nb: 1\n", text("one"), "a: |-\n  one\nb: 1\n"),
        ("a: |\n  x\nb: 1\n", text(" one\n"), "a: \" one\\n\"\nb: 1\n"),
        ("{a: x}\n", text("y, z"), "{a: \"y, z\"}\n"),
        ("b: 1\n", text("x"), "b: 1\na: x\n"),
        ("", text("x"), "a: x\n"),
    ] {
        let key = KeyPath::parse("a").unwrap();
        let edited =
            set(Format::Yaml, before, &key, &value).unwrap_or_else(|e| panic!("{before:?} {value:?}: {e}"));
        assert_eq!(edited, after, "{before:?} {value:?}");
        assert_eq!(
            set(Format::Yaml, &edited, &key, &value).unwrap(),
            edited,
            "{before:?} {value:?}, again"
        );
        let got = get(Format::Yaml, &edited, &key).unwrap();
        assert_eq!(got.as_deref(), Some(value.meaning().text()), "{before:?}");
    }
}

#[test]
fn only_single_values_are_set_and_got() {
    let key = KeyPath::parse("a").unwrap();
    for (value, says) in [
        (
            Scalar::Truth(true),
            "target line 1, column 4: `a` is a list; expected a single value",
        ),
        (
            Scalar::Number("1x".into()),
            "target line 1, column 1: the number for `a` is not one; expected digits, such as `3` or `1.5e3`",
        ),
        (
            Scalar::Number("01".into()),
            "target line 1, column 1: the number for `a` is not one; expected digits, such as `3` or `1.5e3`",
        ),
        (
            Scalar::Number(String::new()),
            "target line 1, column 1: the number for `a` is not one; expected digits, such as `3` or `1.5e3`",
        ),
    ] {
        assert_eq!(
            set(Format::Yaml, "a: [1]\n", &key, &value)
                .unwrap_err()
                .to_string(),
            says
        );
    }
    assert!(get(Format::Yaml, "a: [1]\n", &key).is_err());
    assert_eq!(get(Format::Yaml, "b: 1\n", &key).unwrap(), None);
    assert_eq!(get(Format::Yaml, "", &key).unwrap(), None);
    assert_eq!(
        get(Format::Yaml, "b: &b x\na: *b\n", &key).unwrap().as_deref(),
        Some("x")
    );
}
