use super::*;

#[test]
fn what_others_refer_to_is_not_touched() {
    let refusal = |name, keys, source, target, says| Refusal {
        name,
        keys,
        source,
        target,
        says,
    };
    check_refusals(
        Format::Yaml,
        &[
            refusal(
                "an alias at the key",
                "b",
                "b: 2\n",
                "a: &a 1\nb: *a\n",
                "target line 2, column 4: an alias (`*name`) stands here, on the way to what is edited or within it; expected a value of its own",
            ),
            refusal(
                "an alias on the way",
                "b.c",
                "b: {c: 2}\n",
                "a: &a {c: 1}\nb: *a\n",
                "target line 2, column 4: an alias (`*name`) stands here, on the way to what is edited or within it; expected a value of its own",
            ),
            refusal(
                "an anchor at the key",
                "a",
                "a: 2\n",
                "a: &a 1\nb: *a\n",
                "target line 1, column 4: an anchor (`&name`) stands here, where something is edited; expected none, since others may refer to it",
            ),
            refusal(
                "an anchor above the key",
                "a.x",
                "a: {x: 2}\n",
                "a: &a\n  x: 1\nb: *a\n",
                "target line 1, column 4: an anchor (`&name`) stands here, where something is edited; expected none, since others may refer to it",
            ),
            refusal(
                "an anchor below the key",
                "a",
                "a: 2\n",
                "a:\n  x: &x 1\n",
                "target line 2, column 6: an anchor (`&name`) stands here, where something is edited; expected none, since others may refer to it",
            ),
            refusal(
                "an alias below the key",
                "a",
                "a: 2\n",
                "z: &z 1\na:\n  x: *z\n",
                "target line 3, column 6: an alias (`*name`) stands here, on the way to what is edited or within it; expected a value of its own",
            ),
            refusal(
                "an alias in the source's value",
                "a",
                "z: &z 1\na:\n  x: *z\n",
                "a: 1\n",
                "source line 3, column 6: an alias (`*name`) stands here, on the way to what is edited or within it; expected a value of its own",
            ),
            refusal(
                "an anchor in the source's value",
                "a",
                "a:\n  x: &z 1\nb: *z\n",
                "a: 1\n",
                "source line 2, column 6: an anchor (`&name`) stands here, where something is edited; expected none, since others may refer to it",
            ),
            refusal(
                "a key of a merge",
                "p.x",
                "p: {x: 2}\n",
                "d: &d {x: 1}\np:\n  <<: *d\n  y: 1\n",
                "target line 3, column 3: `p.x` comes from the merge (`<<`) here; expected it to be written in the map itself",
            ),
            refusal(
                "a key of a merge of several",
                "p.x",
                "p: {x: 2}\n",
                "d: &d {x: 1}\ne: &e {<<: *d}\np: {<<: [*e], y: 1}\n",
                "target line 3, column 5: `p.x` comes from the merge (`<<`) here; expected it to be written in the map itself",
            ),
            refusal(
                "a key of a merge at the source",
                "p.x",
                "d: &d {x: 1}\np:\n  <<: *d\n",
                "p: {x: 2}\n",
                "source line 3, column 3: `p.x` comes from the merge (`<<`) here; expected it to be written in the map itself",
            ),
        ],
    );
    // But what is not referred to may change within.
    let edited = transfer(
        Format::Yaml,
        "a: {x: 2}\n",
        "a: &a\n  x: 1\nb: &b 1\nc: *b\n",
        &keys(&["a.x"]),
    )
    .unwrap();
    assert_eq!(edited, "a: &a\n  x: 2\nb: &b 1\nc: *b\n");
    // And what is equal is left in peace.
    let same = "a: &a 1\nb: *a\n";
    assert_eq!(
        transfer(Format::Yaml, "a: 1\n", same, &keys(&["a"])).unwrap(),
        same
    );
}

#[test]
fn what_cannot_be_edited_is_refused_with_its_place() {
    let refusal = |name, keys, source, target, says| Refusal {
        name,
        keys,
        source,
        target,
        says,
    };
    check_refusals(
        Format::Yaml,
        &[
            refusal(
                "missing at the source",
                "a.b",
                "a: {c: 1}\n",
                "a: {b: 1}\n",
                "source line 1, column 4: the source has no `a.b`, but the target has; expected it in both, so add it here or remove it from the target",
            ),
            refusal(
                "a second document",
                "a",
                "a: 1\n",
                "a: 2\n---\nb: 1\n",
                "target line 2, column 1: a second YAML document begins here; expected one, so split the file or remove the `---`",
            ),
            refusal(
                "a key twice",
                "a",
                "a: 1\n",
                "a: 2\nb:\n  c: 1\n  c: 2\n",
                "target line 4, column 3: the key `c` stands here a second time; expected each key once",
            ),
            refusal(
                "a key twice in other quotes",
                "a",
                "a: 1\n",
                "a: 2\n'a': 1\n",
                "target line 2, column 1: the key `a` stands here a second time; expected each key once",
            ),
            refusal(
                "not a map",
                "a.b",
                "a: {b: 1}\n",
                "a: secret\n",
                "target line 1, column 4: `a` is a single value here; expected a map",
            ),
            refusal(
                "not a map at the source",
                "a.b",
                "a: [1]\n",
                "a: {}\n",
                "source line 1, column 4: `a` is a list here; expected a map",
            ),
            refusal(
                "not a list",
                "a[0]",
                "a: [1]\n",
                "a: {b: 1}\n",
                "target line 1, column 4: `a` is a map here; expected a list",
            ),
            refusal(
                "no such item",
                "a[1]",
                "a: [1, 2]\n",
                "a: [1]\n",
                "target line 1, column 4: no item of the list is `a[1]`; expected it to be there, since items are not added to lists",
            ),
            refusal(
                "no such item by name",
                "a[n=x].y",
                "a: [{n: x, y: 1}]\n",
                "a: [{n: z}]\n",
                "target line 1, column 4: no item of the list is `a[n=x]`; expected it to be there, since items are not added to lists",
            ),
            refusal(
                "two such items",
                "a[n=x].y",
                "a: [{n: x, y: 1}]\n",
                "a: [{n: x}, {n: x}]\n",
                "target line 1, column 13: a second place here is `a[n=x]` too; expected one",
            ),
            refusal(
                "two places that are one",
                "a[0] a[n=x].y",
                "a: [{n: z, y: 1}, {n: x, y: 2}]\n",
                "a: [{n: x, y: 0}]\n",
                "target line 1, column 1: `a[0]` lies within a place that another key names; expected one of the two",
            ),
            refusal(
                "behind a block scalar that a line break would change",
                "b",
                "b: 1\n",
                "a: |\n  x",
                "target line 1, column 1: the layout here did not allow the edit: the result would have said something else, so nothing was changed; expected a simpler layout around the key",
            ),
            refusal(
                "an explicit key",
                "a",
                "a: 1\n",
                "? a\n: 2\n",
                "target line 2, column 3: a value whose key stands after a `?` stands here, which is not edited; expected `key: value`",
            ),
        ],
    );
    let broken = transfer(Format::Yaml, "a: 1\n", "a: [1\nsecret: hunter2\n", &keys(&["a"])).unwrap_err();
    assert!(!broken.to_string().contains("hunter2"), "{broken}");
    assert!(broken.to_string().contains("not valid YAML"), "{broken}");
}

#[test]
fn bounds_hold() {
    let key = keys(&["a"]);
    let big = format!("a: {}\n", "x".repeat(MAX_BYTES));
    let deep = format!("a: {}{}\n", "[".repeat(100), "]".repeat(100));
    let deep_blocks = (0..100).fold(String::new(), |text, i| format!("{text}{:i$}a:\n", ""));
    let problem = |text: &str| transfer(Format::Yaml, "a: 1\n", text, &key).unwrap_err().problem;
    assert_eq!(problem(&big), Problem::TooLarge);
    assert_eq!(problem(&deep), Problem::TooDeep);
    assert_eq!(problem(&deep_blocks), Problem::TooDeep);
    let many: Vec<_> = (0..=MAX_KEYS)
        .map(|i| KeyPath::parse(format!("k{i}")).unwrap())
        .collect();
    assert_eq!(
        transfer(Format::Yaml, "", "", &many).unwrap_err().problem,
        Problem::TooManyKeys
    );
    // A bomb of aliases is not expanded.
    let bomb = (1..30).fold("a0: &a0 x\n".to_owned(), |text, i| {
        let j = i - 1;
        format!("{text}a{i}: &a{i} [*a{j}, *a{j}]\n")
    });
    assert!(
        transfer(Format::Yaml, "z: 1\n", &bomb, &keys(&["z"]))
            .unwrap()
            .ends_with("\nz: 1\n")
    );
}

#[test]
fn hostile_files_cost_no_more_than_their_size() {
    let n = 40_000;
    let repeated = |part: &str| part.repeat(n / part.len());
    let numbered = |part: fn(usize) -> String| (0..n / 20).map(part).collect::<String>();
    let cases = [
        (Format::Yaml, "z: 1\n".to_owned(), repeated("- ")),
        (Format::Yaml, "z: 1\n".to_owned(), repeated("[")),
        (Format::Yaml, "z: 1\n".to_owned(), repeated("? ")),
        (Format::Yaml, "z: 1\n".to_owned(), repeated(":")),
        (Format::Yaml, "z: 1\n".to_owned(), repeated(" ")),
        (Format::Yaml, "z: 1\n".to_owned(), repeated("# c\n")),
        (
            Format::Yaml,
            "z: 1\n".to_owned(),
            numbered(|i| format!("k{i}: |\n x\n\n")),
        ),
        (
            Format::Yaml,
            "z: 1\n".to_owned(),
            format!("z: |\n  x\n{}", repeated("\n")),
        ),
        (
            Format::Yaml,
            format!("z: [{}]\n", repeated("{a: 1, b: 2},")),
            format!("z: [{}]\n", repeated("{a: 1, c: 3},")),
        ),
        (
            Format::Yaml,
            format!("z:\n{}", repeated("- 1\n")),
            format!("b:\n{}c: 1\n", repeated(" ")),
        ),
        (
            Format::Yaml,
            format!("z: |\n{}", repeated(" x\n")),
            format!("b:\n{}c: 1\n", repeated(" ")),
        ),
        (Format::Json, "{\"z\": 1}".to_owned(), repeated("[")),
        (
            Format::Json,
            format!("{{\"z\": [\n{}0]}}", repeated("[\n],")),
            format!("{{\n{}\"a\": 1}}", repeated(" ")),
        ),
        (
            Format::Json,
            format!("{{\"z\": [{}0]}}", repeated("{\"a\":1,\"b\":2},")),
            format!("{{\"z\": [{}0]}}", repeated("{\"a\":1,\"c\":2},")),
        ),
        (
            Format::Toml,
            "z = 1\n".to_owned(),
            format!("{}a = 1\n", repeated("a.")),
        ),
        (
            Format::Toml,
            "z = 1\n".to_owned(),
            format!("a = {}", repeated("[")),
        ),
        (Format::Toml, "z = 1\n".to_owned(), repeated("[[a]]\n")),
        (
            Format::Toml,
            numbered(|i| format!("z.k{i} = 1\n")),
            format!("[z]\n{}a = 1\n", repeated(" ")),
        ),
    ];
    for (format, source, target) in cases {
        for key in ["z", "b.z"] {
            match transfer(format, &source, &target, &keys(&[key])) {
                Ok(edited) => assert!(edited.len() <= MAX_BYTES),
                Err(error) => assert!(error.line > 0),
            }
        }
    }
}
