use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Node {
    parse("p.yaml", text).unwrap().unwrap()
}

fn problem(text: &str) -> PolicyError {
    parse("p.yaml", text).unwrap_err()
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        other => panic!("{other:?}"),
    }
}

fn scalar(node: &Node) -> (&str, bool) {
    match &node.value {
        Value::Scalar(scalar) => (&scalar.text, scalar.plain),
        other => panic!("{other:?}"),
    }
}

#[test]
fn scalars_keep_their_text_and_whether_they_were_quoted() {
    let node = read(
        "- yes\n- 'yes'\n- 1.10\n- 0o17\n- \"1\"\n- 1_000\n- 0x1F\n- TRUE\n- plain text # not this\n- .inf\n- |\n  block\n- &a 007\n- *a\n- !!str 12\n",
    );
    let found: Vec<(&str, bool)> = items(&node).iter().map(scalar).collect();
    assert_eq!(
        found,
        [
            ("yes", true),
            ("yes", false),
            ("1.10", true),
            ("0o17", true),
            ("1", false),
            ("1_000", true),
            ("0x1F", true),
            ("TRUE", true),
            ("plain text", true),
            (".inf", true),
            ("block\n", false),
            ("007", true),
            ("007", true),
            ("12", true),
        ]
    );
}

#[test]
fn text_after_characters_of_several_bytes_is_found_all_the_same() {
    let node = read("- 'ü🚀'\n- 1.10\n- ünquoted\n- { k: 2.50 }\n");
    assert_eq!(scalar(&items(&node)[1]), ("1.10", true));
    assert_eq!(scalar(&items(&node)[2]), ("ünquoted", true));
    let Value::Map(entries) = &items(&node)[3].value else {
        panic!()
    };
    assert_eq!(scalar(&entries[0].1), ("2.50", true));
}

#[test]
fn every_node_knows_its_place() {
    let node = read("a: 1\nlist:\n  - ü: x\n    b: [true, 'q']\n");
    let Value::Map(entries) = &node.value else {
        panic!()
    };
    let place = |node: &Node| (node.mark.line, node.mark.column);
    assert_eq!(place(&entries[0].1), (1, 4));
    let first = &items(&entries[1].1)[0];
    assert_eq!(place(first), (3, 5));
    let Value::Map(inner) = &first.value else { panic!() };
    assert_eq!(place(&inner[0].1), (3, 8));
    assert_eq!(place(&items(&inner[1].1)[1]), (4, 15));
}

#[test]
fn an_alias_has_the_place_of_its_anchor() {
    let node = read("- &a [x, y]\n- *a\n");
    let aliased = &items(&node)[1];
    assert_eq!(items(aliased)[1].mark, Mark { line: 1, column: 10 });
}

#[test]
fn merge_keys_are_merged() {
    let node = read("base: &b { x: 1, y: 2 }\nuse:\n  <<: *b\n  y: 3\n");
    let Value::Map(entries) = &node.value else {
        panic!()
    };
    let Value::Map(merged) = &entries[1].1.value else {
        panic!()
    };
    let mut merged: Vec<(&str, &str)> = merged.iter().map(|(k, v)| (scalar(k).0, scalar(v).0)).collect();
    merged.sort_unstable();
    assert_eq!(merged, [("x", "1"), ("y", "3")]);
}

#[test]
fn nothing_at_all_is_no_node() {
    for empty in [
        "",
        "\n\n",
        "# only a comment\n",
        "---\n",
        "null\n",
        "~",
        "\u{feff}",
    ] {
        assert!(parse("p.yaml", empty).unwrap().is_none(), "{empty:?}");
    }
}

#[test]
fn what_is_not_yaml_is_an_error_with_a_place_and_none_of_its_text() {
    for (text, line, column, message) in [
        (
            "a: secret\na: secret\n",
            2,
            1,
            "the key `a` stands here a second time",
        ),
        ("a: [secret\n", 1, 4, "not valid YAML"),
        ("a:\n\t- secret\n", 2, 2, "not valid YAML"),
        ("a: *secret\n", 1, 4, "alias"),
        ("a: 'secret\n", 1, 4, "not valid YAML"),
        ("a: 1\n---\nb: secret\n", 3, 1, "second YAML document"),
        ("a: secret: x\n", 1, 10, "not valid YAML"),
        ("a: 1\n secret\n  b: 2\n", 0, 0, "not valid YAML"),
        (
            "? {secret: 1}\n: 1\n? {secret: 1}\n: 2\n",
            3,
            3,
            "a key stands here a second time",
        ),
        ("a: &x [*x]\n", 0, 0, ""),
        ("- a\nb: secret\n", 0, 0, ""),
        ("\u{1}secret", 0, 0, ""),
    ] {
        let error = problem(text);
        assert!(error.message.contains(message), "{text:?}: {error}");
        assert!(!error.message.contains("secret"), "{text:?}: {error}");
        assert!(error.line > 0 && error.column > 0, "{text:?}: {error}");
        if line > 0 {
            assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
        }
    }
}

#[test]
fn bombs_are_refused() {
    let laughs = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let alias = format!("*a{}", n - 1);
        format!("{text}a{n}: &a{n} [{}]\n", vec![alias; 10].join(","))
    });
    let deep_flow = "[".repeat(5_000);
    let deep_block = (0..200).fold(String::new(), |text, depth| {
        format!("{text}{}a:\n", " ".repeat(depth))
    });
    let many = "- x\n".repeat(50_000);
    let aliases = format!("- &a x\n{}", "- *a\n".repeat(5_000));
    let large = format!("# {}\n", "x".repeat(256 * 1024));
    for (name, text) in [
        ("laughs", laughs),
        ("deep flow", deep_flow),
        ("deep block", deep_block),
        ("many", many),
        ("aliases", aliases),
        ("large", large),
    ] {
        let error = problem(&text);
        assert!(
            error.message.contains("too ") || error.message.contains("larger"),
            "{name}: {error}"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _unused = parse("p.yaml", &text);
    }

    #[test]
    fn likely_yaml_never_panics(text in r#"([a-c]: |- |\n| |\[|\]|\{|\}|,|&a |\*a|'|"|\||>|#|!!str |!|<<: |~|1|true|yes|---\n|%|\?|é|\t){0,40}"#) {
        let _unused = parse("p.yaml", &text);
    }
}
