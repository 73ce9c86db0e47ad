use super::*;

#[test]
fn json_values_change_alone() {
    check(
        Format::Json,
        &[
            case(
                "a text",
                "a.b",
                r#"{"a": {"b": "2"}}"#,
                "{\n\t\"a\" : {\n\t\t\"b\" :  \"1\" ,\n\t\t\"c\": []\n\t}\n}\n",
                "{\n\t\"a\" : {\n\t\t\"b\" :  \"2\" ,\n\t\t\"c\": []\n\t}\n}\n",
            ),
            case(
                "numbers as they are written",
                "a b c d",
                r#"{"a":1.0,"b":1e3,"c":123456789012345678901234567890,"d":-0.10E+2}"#,
                r#"{"a":1,"b":1000,"c":0,"d":0}"#,
                r#"{"a":1.0,"b":1e3,"c":123456789012345678901234567890,"d":-0.10E+2}"#,
            ),
            case(
                "escapes as they are written",
                "a",
                "{\"a\": \"\\u00e9\\/\"}",
                "{\"a\": \"x\"}\n",
                "{\"a\": \"\\u00e9\\/\"}\n",
            ),
            case(
                "equal in other escapes is equal",
                "a",
                "{\"a\": \"\\u00e9\"}",
                "{\"a\": \"é\"}\n",
                "{\"a\": \"é\"}\n",
            ),
            case(
                "a list",
                "a",
                "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ]\n}\n",
                "{\n    \"x\": {},\n    \"a\": null\n}\n",
                "{\n    \"x\": {},\n    \"a\": [\n        1,\n        {\n            \"b\": []\n        }\n    ]\n}\n",
            ),
            case(
                "a list of the same length",
                "a",
                "{\"a\": [1, {\"b\": 2}]}",
                "{\"a\": [\n 0,\n {\"b\":  1}]}",
                "{\"a\": [\n 1,\n {\"b\":  2}]}",
            ),
            case(
                "an added key",
                "a.y",
                "{\"a\": {\"y\": [1, 2]}}",
                "{\n  \"a\": {\n    \"x\": 1\n  }\n}\n",
                "{\n  \"a\": {\n    \"x\": 1,\n    \"y\": [1, 2]\n  }\n}\n",
            ),
            case(
                "an added key with parents",
                "p.q.r p.s",
                "{\"p\":{\"q\":{\"r\":1},\"s\":2}}",
                "{\n   \"a\": 1\n}",
                "{\n   \"a\": 1,\n   \"p\": {\n      \"q\": {\n         \"r\": 1\n      },\n      \"s\": 2\n   }\n}",
            ),
            case(
                "on one line",
                "p.q",
                "{\"p\": {\"q\": 1}}",
                "{\"a\": 1}\n",
                "{\"a\": 1, \"p\": {\"q\": 1}}\n",
            ),
            case(
                "without spaces",
                "p.q",
                "{\"p\": {\"q\": 1}}",
                "{\"a\":1,\"b\":2}",
                "{\"a\":1,\"b\":2,\"p\":{\"q\":1}}",
            ),
            case(
                "into an empty object",
                "a.b",
                "{\"a\":{\"b\":1}}",
                "{\n  \"a\": {}\n}\n",
                "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n",
            ),
            case(
                "into an empty file",
                "a.b",
                "{\"a\":{\"b\":1}}",
                "",
                "{\n  \"a\": {\n    \"b\": 1\n  }\n}\n",
            ),
            case(
                "into a file that is an empty object",
                "a",
                "{\"a\":1}",
                "{}\n",
                "{\n  \"a\": 1\n}\n",
            ),
            case(
                "keys come and go",
                "a",
                "{\"a\": {\"x\": 1, \"n\": 2}}",
                "{\n  \"a\": {\n    \"w\": 0,\n    \"x\": 1,\n    \"z\": 3\n  }\n}\r\n",
                "{\n  \"a\": {\n    \"x\": 1,\n    \"n\": 2\n  }\n}\r\n",
            ),
            case(
                "carriage returns",
                "a.y",
                "{\"a\": {\"y\": {\n\"z\": 1\n}}}",
                "{\r\n  \"a\": {\r\n    \"x\": 1\r\n  }\r\n}\r\n",
                "{\r\n  \"a\": {\r\n    \"x\": 1,\r\n    \"y\": {\r\n      \"z\": 1\r\n    }\r\n  }\r\n}\r\n",
            ),
            case(
                "a list at the top",
                "[1].a",
                "[0, {\"a\": 2}]",
                "[{}, {\"a\": 1}]",
                "[{}, {\"a\": 2}]",
            ),
            case(
                "a byte order mark",
                "a",
                "{\"a\": 2}",
                "\u{feff}{\"a\": 1}",
                "\u{feff}{\"a\": 2}",
            ),
        ],
    );
}

#[test]
fn what_is_not_json_is_refused() {
    for (text, says) in [
        (
            "{\"a\": 1,}",
            "line 1, column 9: this is not valid JSON: expected a key in double quotes",
        ),
        (
            "[1,]",
            "line 1, column 4: this is not valid JSON: expected a value",
        ),
        (
            "{a: 1}",
            "line 1, column 2: this is not valid JSON: expected a key in double quotes",
        ),
        (
            "{\"a\" 1}",
            "line 1, column 6: this is not valid JSON: expected `:` after a key",
        ),
        (
            "{\"a\": 01}",
            "line 1, column 7: this is not valid JSON: expected digits of a number",
        ),
        (
            "{\"a\": 1.}",
            "line 1, column 7: this is not valid JSON: expected digits of a number",
        ),
        (
            "{\"a\": -}",
            "line 1, column 7: this is not valid JSON: expected digits of a number",
        ),
        (
            "{\"a\": 1e}",
            "line 1, column 7: this is not valid JSON: expected digits of a number",
        ),
        (
            "{\"a\": nul}",
            "line 1, column 7: this is not valid JSON: expected a value",
        ),
        (
            "{\"a\": nulll}",
            "line 1, column 11: this is not valid JSON: expected `,` or `}` after an entry",
        ),
        (
            "{\n \"a\": \"x\ny\"}",
            "line 2, column 9: this is not valid JSON: expected no line break or control character in quotes",
        ),
        (
            "{\"a\": \"\\x\"}",
            "line 1, column 7: this is not valid JSON: expected only the escapes of JSON in a text",
        ),
        (
            "{\"a\": \"\\ud800\"}",
            "line 1, column 7: this is not valid JSON: expected only the escapes of JSON in a text",
        ),
        (
            "{\"a\": \"x",
            "line 1, column 7: this is not valid JSON: expected a closing double quote",
        ),
        (
            "{\"a\": \"x\\",
            "line 1, column 7: this is not valid JSON: expected a closing double quote",
        ),
        (
            "// c\n{}",
            "line 1, column 1: this is not valid JSON: expected a value",
        ),
        (
            "{} {}",
            "line 1, column 4: this is not valid JSON: expected the file to end behind its value",
        ),
        (
            "{\"a\": 1, \"\\u0061\": 2}",
            "line 1, column 10: the key `a` stands here a second time; expected each key once",
        ),
    ] {
        let error = get(Format::Json, text, &KeyPath::parse("a").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), format!("target {says}"), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let error = get(Format::Json, &deep, &KeyPath::parse("[0]").unwrap()).unwrap_err();
    assert_eq!(error.problem, Problem::TooDeep);
}

#[test]
fn json_scalars_are_set() {
    let key = KeyPath::parse("a.b").unwrap();
    for (value, after) in [
        (Scalar::Text("1.10".into()), "{\"a\": {\"b\": \"1.10\"}}\n"),
        (
            Scalar::Text("\"\\\n".into()),
            "{\"a\": {\"b\": \"\\\"\\\\\\n\"}}\n",
        ),
        (Scalar::Number("1.10".into()), "{\"a\": {\"b\": 1.10}}\n"),
        (Scalar::Truth(false), "{\"a\": {\"b\": false}}\n"),
        (Scalar::Null, "{\"a\": {\"b\": null}}\n"),
    ] {
        for before in ["{\"a\": {\"b\": \"x\"}}\n", "{\"a\": {\"b\": 0}}\n"] {
            assert_eq!(set(Format::Json, before, &key, &value).unwrap(), after);
        }
        assert_eq!(
            get(Format::Json, after, &key).unwrap().as_deref(),
            Some(value.meaning().text())
        );
    }
}
