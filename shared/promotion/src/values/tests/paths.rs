use super::*;

#[test]
fn key_paths_are_shown_as_they_are_read() {
    for path in [
        "image.tag",
        "containers[0].image",
        "containers[name=app].image",
        "\"key.with.dots\".x",
        "\"a \\\"b\\\" \\\\ c\"",
        "images[name=docker.io/library/x].newTag",
        "images[\"a.b\"=\"c d\"][1][2].x",
        "metadata.annotations.\"app.kubernetes.io/name\"",
        "[0].x",
        "\"\".x",
        "schlüssel.日本",
        "a-b_c/d",
    ] {
        let parsed = KeyPath::parse(path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(parsed.to_string(), path);
        let json = serde_json::to_string(&parsed).unwrap();
        assert_eq!(serde_json::from_str::<KeyPath>(&json).unwrap(), parsed);
    }
}

#[test]
fn needless_quotes_are_dropped() {
    assert_eq!(KeyPath::parse("\"a\".\"b\"").unwrap().to_string(), "a.b");
}

#[test]
fn what_is_no_key_path_is_refused_with_the_rule() {
    for (path, rule) in [
        ("", "a segment is empty"),
        (".a", "a segment is empty"),
        ("a.", "a segment is empty"),
        ("a..b", "a segment is empty"),
        ("a[", "a segment is empty"),
        ("a[]", "a segment is empty"),
        ("a[x]", "an index or `name=value`"),
        ("a[1", "an index or `name=value`"),
        ("a[01]", "begins with 0"),
        ("a[1234567]", "more than 6 digits"),
        ("a[-1]", "an index or `name=value`"),
        ("a[x=]", "empty or has white space"),
        ("a[x=y", "expected `]`"),
        ("a]", "expected `.` or `[`"),
        ("a=b", "expected `.` or `[`"),
        ("a[0]b", "expected `.` or `[`"),
        ("a b", "needs double quotes"),
        ("a.*", "a pattern is not possible"),
        ("\"a", "not closed"),
        ("\"a\\n\"", "backslash"),
        ("\"a\nb\"", "control character"),
        ("'a'", "a segment is empty"),
        ("\"a\"b", "expected `.` or `[`"),
    ] {
        let error = KeyPath::parse(path).expect_err(path);
        assert!(error.rule.contains(rule), "{path:?}: {error}");
    }
    assert!(KeyPath::parse("a".repeat(1025)).is_err());
    assert!(KeyPath::parse(["a"; 33].join(".")).is_err());
    assert!(KeyPath::parse(["a"; 32].join(".")).is_ok());
    assert!(serde_json::from_str::<KeyPath>("\"a..b\"").is_err());
}

#[test]
fn formats_are_known_by_their_extension() {
    let of = |path: &str| Format::of(&PathInRepo::parse(path).unwrap());
    assert_eq!(of("a/values.yaml"), Some(Format::Yaml));
    assert_eq!(of("values.YML"), Some(Format::Yaml));
    assert_eq!(of("package.json"), Some(Format::Json));
    assert_eq!(of("Cargo.toml"), Some(Format::Toml));
    assert_eq!(of("yaml"), None);
    assert_eq!(of("a.yaml/b"), None);
    assert_eq!(Format::of(&PathInRepo::root()), None);
}
