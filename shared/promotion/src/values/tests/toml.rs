use super::*;

#[test]
fn toml_values_change_alone() {
    check(
        Format::Toml,
        &[
            case(
                "a text",
                "a.b",
                "a.b = \"2\"\n",
                "# top\n[a] # a\n  b   =  '1'  # one\nc = 1\n",
                "# top\n[a] # a\n  b   =  \"2\"  # one\nc = 1\n",
            ),
            case(
                "equal in other quotes is equal",
                "a",
                "a = '''x'''\n",
                "a = \"x\" # c\n",
                "a = \"x\" # c\n",
            ),
            case(
                "numbers and dates as they are written",
                "a b c d",
                "a = 1_000\nb = 0x1F\nc = 1e3\nd = 1979-05-27T07:32:00Z\n",
                "a = 1000\nb = 31\nc = 1000.0\nd = 1979-05-27\n",
                "a = 1_000\nb = 0x1F\nc = 1e3\nd = 1979-05-27T07:32:00Z\n",
            ),
            case(
                "carriage returns stay",
                "b",
                "b = 2\n",
                "a = 1\r\nb = 1 # c\r\n",
                "a = 1\r\nb = 2 # c\r\n",
            ),
            case(
                "a text of lines",
                "a",
                "a = \"\"\"\none\ntwo\"\"\"\n",
                "a = 1\nb = 2\n",
                "a = \"\"\"\none\ntwo\"\"\"\nb = 2\n",
            ),
            case(
                "in an inline table",
                "a.b.c",
                "a.b.c = true\n",
                "a = { b = { c = false, d = 1 } } # c\n",
                "a = { b = { c = true, d = 1 } } # c\n",
            ),
            case(
                "a list",
                "a",
                "a = [\n  1, # one\n  2,\n]\n",
                "a = [1]\n",
                "a = [1, 2]\n",
            ),
            case(
                "a list of lines",
                "a",
                "a = [\n  1,\n  2,\n]\n",
                "a = [1]\n",
                "a = [\n  1,\n  2,\n]\n",
            ),
            case(
                "a list of the same length",
                "a",
                "a = [1, 3]\n",
                "a = [\n  1, # one\n  2, # two\n]\n",
                "a = [\n  1, # one\n  3, # two\n]\n",
            ),
            case(
                "an item of an array of tables",
                "bin[name=b].path",
                "[[bin]]\nname = \"b\"\npath = \"y\"\n",
                "[[bin]]\nname = \"a\"\npath = \"x\"\n\n[[bin]]\nname = \"b\"\npath = \"x\" # b\n",
                "[[bin]]\nname = \"a\"\npath = \"x\"\n\n[[bin]]\nname = \"b\"\npath = \"y\" # b\n",
            ),
            case(
                "a table by its keys",
                "a",
                "[a]\nx = 1\n[a.t]\ny = 2\n",
                "a.x = 0 # x\na.t.y = 2\n",
                "a.x = 1 # x\na.t.y = 2\n",
            ),
            case(
                "keys of a table come and go",
                "a",
                "[a]\nx = 1\nz = 3\n",
                "[a]\n# x\nx = 1 # one\n# y\ny = [\n  2\n] # two\n# end\n\n[b]\n",
                "[a]\n# x\nx = 1 # one\n# y\nz = 3\n# end\n\n[b]\n",
            ),
        ],
    );
}

#[test]
fn toml_keys_are_added() {
    check(
        Format::Toml,
        &[
            case(
                "to a table",
                "a.y",
                "a.y = 2\n",
                "[a]\nx = 1 # x\n\n[b]\nz = 1\n",
                "[a]\nx = 1 # x\ny = 2\n\n[b]\nz = 1\n",
            ),
            case(
                "to an indented table",
                "a.y",
                "a.y = 2\n",
                "[a]\n  x = 1\n",
                "[a]\n  x = 1\n  y = 2\n",
            ),
            case(
                "to an empty table",
                "a.y",
                "a.y = 2\n",
                "[a] # a\n[b]\n",
                "[a] # a\ny = 2\n[b]\n",
            ),
            case(
                "to an inline table",
                "a.y",
                "a.y = 2\n",
                "a = { x = 1 }\n",
                "a = { x = 1, y = 2 }\n",
            ),
            case(
                "to an empty inline table",
                "a.y",
                "a.y = 2\n",
                "a = {}\n",
                "a = { y = 2 }\n",
            ),
            case(
                "to a dotted table",
                "a.b.y",
                "a.b.y = 2\n",
                "a.b.x = 1 # x\nc = 1\n",
                "a.b.x = 1 # x\na.b.y = 2\nc = 1\n",
            ),
            case(
                "to the top",
                "y",
                "y = 2\n",
                "x = 1\n\n[a]\nx = 1\n",
                "x = 1\ny = 2\n\n[a]\nx = 1\n",
            ),
            case(
                "to the top before tables",
                "y",
                "y = 2\n",
                "# file\n\n# a\n[a]\nx = 1\n",
                "# file\n\ny = 2\n\n# a\n[a]\nx = 1\n",
            ),
            case("to an empty file", "y", "y = 2\n", "", "y = 2\n"),
            case(
                "to an empty file with parents",
                "a.b.y",
                "[a.b]\ny = 2\n",
                "",
                "[a.b]\ny = 2\n",
            ),
            case(
                "with parents",
                "a.b.y",
                "a.b.y = 2\n",
                "x = 1",
                "x = 1\n\n[a.b]\ny = 2",
            ),
            case(
                "with parents in a table",
                "a.b.y",
                "a.b.y = 2\n",
                "[a]\nx = 1\n\n[c]\n",
                "[a]\nx = 1\n\n[a.b]\ny = 2\n\n[c]\n",
            ),
            case(
                "to a table without a header",
                "a.y",
                "a.y = 2\n",
                "[a.b]\nx = 1\n",
                "[a.b]\nx = 1\n\n[a]\ny = 2\n",
            ),
            case(
                "a table",
                "a.t",
                "[a.t]\ny = 2\n[a.t.u]\nz = 3\n[[a.t.v]]\nw = 4\n[[a.t.v]]\nw = 5\n",
                "[a]\nx = 1\n",
                "[a]\nx = 1\n\n[a.t]\ny = 2\n\n[a.t.u]\nz = 3\n\n[[a.t.v]]\nw = 4\n\n[[a.t.v]]\nw = 5\n",
            ),
            case(
                "a table into an inline table",
                "a.t",
                "[a.t]\ny = 2\n[a.t.u]\nz = 3\n",
                "a = { x = 1 }\n",
                "a = { x = 1, t = { y = 2, u = { z = 3 } } }\n",
            ),
            case(
                "a key that needs quotes",
                "a.\"b.c\"",
                "a.\"b.c\" = 1\n",
                "[a]\nx = 1\n",
                "[a]\nx = 1\n\"b.c\" = 1\n",
            ),
            case(
                "carriage returns",
                "a.y",
                "a.y = 2\n",
                "[a]\r\nx = 1\r\n",
                "[a]\r\nx = 1\r\ny = 2\r\n",
            ),
            case(
                "to an item of an array of tables",
                "b[n=1].y",
                "[[b]]\nn = 1\ny = 2\n",
                "[[b]]\nn = 1\n\n[[b]]\nn = 2\n",
                "[[b]]\nn = 1\ny = 2\n\n[[b]]\nn = 2\n",
            ),
        ],
    );
}

#[test]
fn what_toml_does_not_allow_is_refused() {
    let refusal = |name, keys, source, target, says| Refusal {
        name,
        keys,
        source,
        target,
        says,
    };
    check_refusals(
        Format::Toml,
        &[
            refusal(
                "a table by a value",
                "a",
                "a = 1\n",
                "[a]\nx = 1\n",
                "target line 1, column 1: a table or list of tables that would change its kind or its keys stands here, which is not edited; expected `key = value`",
            ),
            refusal(
                "a key twice",
                "a",
                "a = 1\n",
                "a = 1\na = 2\n",
                "target line 2, column 1: this is not valid TOML: duplicate key",
            ),
            refusal(
                "broken",
                "a",
                "a = 1\n",
                "a = hunter2\n",
                "target line 1, column 5: this is not valid TOML: string values must be quoted, expected literal string",
            ),
            refusal(
                "missing",
                "a",
                "b = 1\n",
                "a = 1\n",
                "source line 1, column 1: the source has no `a`, but the target has; expected it in both, so add it here or remove it from the target",
            ),
        ],
    );
    let key = KeyPath::parse("a").unwrap();
    assert!(set(Format::Toml, "a = 1\n", &key, &Scalar::Null).is_err());
    assert!(
        set(
            Format::Toml,
            "a = 1\n",
            &key,
            &Scalar::Number("99999999999999999999".into())
        )
        .is_err()
    );
}

#[test]
fn toml_scalars_are_set() {
    let key = KeyPath::parse("a").unwrap();
    for (before, value, after) in [
        ("a = 'x' # c\n", Scalar::Text("1.10".into()), "a = '1.10' # c\n"),
        ("a = 'x'\n", Scalar::Text("it's".into()), "a = \"it's\"\n"),
        (
            "a = \"x\"\n",
            Scalar::Text("\"\\\n\u{7f}".into()),
            "a = \"\\\"\\\\\\n\\u007F\"\n",
        ),
        ("a = 1\n", Scalar::Text("1".into()), "a = \"1\"\n"),
        ("a = \"1\"\n", Scalar::Number("2.50".into()), "a = 2.50\n"),
        ("a = 1\n", Scalar::Truth(true), "a = true\n"),
        ("b = 1\n", Scalar::Text("x".into()), "b = 1\na = \"x\"\n"),
    ] {
        assert_eq!(set(Format::Toml, before, &key, &value).unwrap(), after);
        assert_eq!(
            get(Format::Toml, after, &key).unwrap().as_deref(),
            Some(value.meaning().text())
        );
    }
}
