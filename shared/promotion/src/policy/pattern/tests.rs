use proptest::prelude::*;

use super::*;

fn search(pattern: &str) -> Regex {
    let mut body = String::new();
    parse(pattern).unwrap().emit(&mut body);
    build(&body, 1 << 20).unwrap()
}

fn check(pattern: &str) -> Result<(), PatternError> {
    super::check(pattern, &mut Budget::of_policy())
}

#[test]
fn patterns_mean_what_they_mean_in_go() {
    for (pattern, matching, other) in [
        ("a.c", "abc", "a\nc"),
        ("(?s)a.c", "a\nc", "ac"),
        // Perl classes and word boundaries are ASCII.
        (r"^\d$", "7", "٧"),
        (r"^\w+$", "a_1", "ü"),
        (r"^\W$", "ü", "a"),
        (r"^\s$", "\u{c}", "\u{b}"),
        (r"^\S$", "\u{a0}", " "),
        (r"^[^\d]$", "x", "1"),
        (r"^[\D]$", "x", "1"),
        (r"a\b", "aü", "ab"),
        (r"ü\Bü", "üü", "xx"),
        // Quotes and escapes.
        (r"^\Qa+b\E+$", "a+bb", "aab"),
        (r"^\Qa.b", "a.b", "axb"),
        (r"^\101\x41\x{e4}$", "AAä", "AA"),
        (r"^\_\-\ \/$", "_- /", "_-/"),
        (r"^\a\f\t\n\r\v$", "\u{7}\u{c}\t\n\r\u{b}", "a"),
        // Within a class only `]`, `^`, `-` and `\` mean something.
        ("^[a&&b]+$", "a&b", "c"),
        ("^[[a]+$", "[a[", "b"),
        ("^[+--]$", ",", "a"),
        ("^[]a]$", "]", "b"),
        ("^[^]a]$", "b", "]"),
        ("^[a~~b#]$", "~", "c"),
        ("^[[:alpha:][:^digit:]-]$", "ü", "1"),
        (r"^[\pL\d]$", "ü", "-"),
        (r"^\p{Greek}\PL\p{^Lu}$", "α1x", "α1X"),
        (r"^\p{Any}$", "\n", ""),
        (r"^[\x20-\x7e]$", "~", "ü"),
        // Repeats; a brace that is none stands for itself.
        ("^a{2,3}$", "aaa", "a"),
        ("^a{,2}$", "a{,2}", "aa"),
        ("^a{02}$", "a{02}", "aa"),
        ("^{a}$", "{a}", "a"),
        ("^(?:a{500}){2}$", &"a".repeat(1000), "a"),
        ("^*a", "ba", "b"),
        // Flags last to the end of their group.
        ("^(?i)ab|c$", "xC", "x"),
        ("^(?:(?i)a)b$", "Ab", "AB"),
        ("^(?i:a)b$", "Ab", "AB"),
        ("^(?i)a(?-i)b$", "Ab", "AB"),
        ("^(?i)ß$", "ẞ", "s"),
        ("(?m)^b$", "a\nb", "ab"),
        ("^a$", "a", "a\n"),
        ("^(?P<x>a)(?<y>b)()$", "ab", "a"),
        ("^a#b c$", "a#b c", "abc"),
        ("^(a||b)$", "", "c"),
    ] {
        let regex = search(pattern);
        assert!(
            regex.is_match(matching),
            "{pattern:?} should match {matching:?}: {regex}"
        );
        assert!(
            !regex.is_match(other),
            "{pattern:?} should not match {other:?}: {regex}"
        );
    }
}

#[test]
fn repeats_are_greedy_as_in_go() {
    for (pattern, text, found) in [
        ("a+", "aaa", "aaa"),
        ("a+?", "aaa", "a"),
        ("(?U)a+", "aaa", "a"),
        ("(?U)a+?", "aaa", "aaa"),
        ("a|ab", "ab", "a"),
        ("(?:a|ab)c?", "abc", "a"),
    ] {
        let regex = search(pattern);
        assert_eq!(regex.find(text).unwrap().as_str(), found, "{pattern:?}");
    }
}

#[test]
fn what_go_refuses_is_refused() {
    for pattern in [
        "a**",
        "c++",
        "a+*",
        "a???",
        "a{2}{3}",
        "a{2}*",
        "*",
        "+a",
        "(*)",
        "a|*",
        "?",
        "{2}",
        "a{1001}",
        "a{2,1}",
        "(?:a{501}){2}",
        "((a{10}){10}){11}",
        "(",
        ")",
        "(a",
        "a)",
        "(?",
        "(?i",
        "(?x)a",
        "(?z)",
        "(?i-)a",
        "(?--i)",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?P<>a)",
        "(?P<a-b>x)",
        "(?P<n>a)(?P<n>b)",
        "(?P=n)",
        "(?P<n",
        r"\",
        r"\1",
        r"\8",
        r"\Z",
        r"\E",
        r"\C",
        r"\G",
        r"\K",
        r"\i",
        r"\ü",
        r"\x",
        r"\x4",
        r"\x{}",
        r"\x{110000}",
        r"\x{41",
        r"\pX",
        r"\p{",
        r"\p{Nonsense}",
        r"\p{White_Space}",
        r"\p{sc=Greek}",
        "[",
        "[]",
        "[a",
        "[z-a]",
        r"[a-\d]",
        "[[:nope:]]",
        r"[\Q]",
        r"[\b]",
        r"\u0041",
        "[a-",
    ] {
        assert!(check(pattern).is_err(), "{pattern:?}");
    }
}

#[test]
fn patterns_are_bounded() {
    let too_big = "(?:[^/]\\pL){1000}";
    assert!(check(too_big).unwrap_err().to_string().contains("256 KiB"));
    assert!(check(&"a".repeat(1001)).is_err());
    assert!(check(&"a".repeat(1000)).is_ok());
    assert!(check(&"(".repeat(500)).is_err());
    let deep = format!("{}a{}", "(".repeat(99), ")".repeat(99));
    assert!(check(&deep).is_ok());
    let deeper = format!("{}a{}", "(".repeat(101), ")".repeat(101));
    assert!(check(&deeper).unwrap_err().to_string().contains("nested"));
    // Taking off the slash of one that may be missing copies what stands before it, but copies no copies.
    assert!(SourcePattern::compile(&"(?:a/)?".repeat(60), 1).is_ok());
    assert!(SourcePattern::compile(&format!("{}a/{}", "(?:".repeat(90), ")?".repeat(90)), 1).is_ok());
}

#[test]
fn a_message_about_a_pattern_has_its_place_but_not_its_text() {
    let message = check("secret(").unwrap_err().to_string();
    assert_eq!(message, "a group is not closed (at character 8)");
}

fn component<'a>(source: &'a str, name: &'a str) -> SourceMatch<'a> {
    SourceMatch::Component { source, name }
}

#[test]
fn a_path_is_located_below_its_source() {
    let staging = "clusters/staging/us/c1/nginx/templates/x.yaml";
    for (pattern, depth, path, expected) in [
        (
            "workspace/",
            1,
            "workspace/nginx/a/b.yaml",
            component("workspace", "nginx"),
        ),
        (
            "workspace",
            1,
            "workspace/nginx/a.yaml",
            component("workspace", "nginx"),
        ),
        (
            "workspace/?",
            1,
            "workspace/nginx/a.yaml",
            component("workspace", "nginx"),
        ),
        (
            r"workspace\/",
            1,
            "workspace/nginx/a.yaml",
            component("workspace", "nginx"),
        ),
        (
            "workspace/",
            2,
            "workspace/team/nginx/a.yaml",
            component("workspace", "team/nginx"),
        ),
        // A file in no component.
        ("workspace/", 1, "workspace/README.md", SourceMatch::NoComponent),
        (
            "workspace/",
            2,
            "workspace/team/README.md",
            SourceMatch::NoComponent,
        ),
        // Whole segments, from the start.
        ("workspace/", 1, "workspace2/nginx/a.yaml", SourceMatch::None),
        ("workspace", 1, "workspace2/nginx/a.yaml", SourceMatch::None),
        ("prod/", 1, "nonprod/nginx/a.yaml", SourceMatch::None),
        ("a|b", 1, "x/b/c/d", SourceMatch::None),
        ("^a/|b/", 1, "b/c/d", component("b", "c")),
        // Capture groups do not shift the component.
        (
            "clusters/(stg|dev)/",
            1,
            "clusters/dev/nginx/a",
            component("clusters/dev", "nginx"),
        ),
        (
            "clusters/(?P<env>stg|dev)/",
            1,
            "clusters/dev/nginx/a",
            component("clusters/dev", "nginx"),
        ),
        // A slash within a group is a slash at the end all the same.
        ("(a/|b/)", 1, "b/nginx/x", component("b", "nginx")),
        ("a/()", 1, "a/nginx/x", component("a", "nginx")),
        ("(?:a/|b)", 1, "b/nginx/x", component("b", "nginx")),
        ("c/(?:[^/]+/){2}", 1, "c/x/y/nginx/z", component("c/x/y", "nginx")),
        ("c/(?:[^/]+/)*", 1, "c/x/y/nginx/z", component("c/x/y", "nginx")),
        ("c/(?:[^/]+/)*?", 1, "c/x/y/nginx/z", component("c", "x")),
        ("c/(?:[^/]+/)+", 1, "c/x/y/nginx/z", component("c/x/y", "nginx")),
        // A regular expression of clusters, with and without the slash.
        (
            "clusters/staging/[^/]*/[^/]*",
            1,
            staging,
            component("clusters/staging/us/c1", "nginx"),
        ),
        (
            "clusters/staging/[^/]*/[^/]*/",
            1,
            staging,
            component("clusters/staging/us/c1", "nginx"),
        ),
        // Greedy, as in Go.
        (
            "clusters/.*/",
            1,
            staging,
            component("clusters/staging/us/c1/nginx", "templates"),
        ),
        ("clusters/.*?/", 1, staging, component("clusters/staging", "us")),
        ("(?:a|a/b)/", 1, "a/b/c/d", component("a", "b")),
        // Names that look like patterns.
        ("workspace/", 1, "workspace/c++/a", component("workspace", "c++")),
        (
            "workspace/",
            1,
            "workspace/a+b/(x)/[y]",
            component("workspace", "a+b"),
        ),
        (
            "workspace/",
            1,
            "workspace/日本 語/a",
            component("workspace", "日本 語"),
        ),
        // Never.
        ("/workspace/", 1, "workspace/nginx/a", SourceMatch::None),
        ("workspace/$", 1, "workspace/nginx/a", SourceMatch::None),
        ("(?:workspace/)?", 1, "nginx/a/b", SourceMatch::None),
    ] {
        let source = SourcePattern::compile(pattern, depth).unwrap();
        assert_eq!(
            source.locate(path),
            expected,
            "{pattern:?} at {path:?}: {source:?}"
        );
    }
}

#[test]
fn whether_a_source_ends_with_a_slash_is_seen_through_groups() {
    for (pattern, expected) in [
        ("a/", true),
        ("(a/|b/)", true),
        ("(?:a/){2}", true),
        ("a", false),
        ("a/?", false),
        ("a/|b", false),
        ("a[/]", false),
    ] {
        let source = SourcePattern::compile(pattern, 1).unwrap();
        assert_eq!(source.ends_with_slash(), expected, "{pattern:?}");
    }
}

#[test]
fn a_source_is_called_by_its_pattern_without_the_slash() {
    for (pattern, name) in [
        ("workspace/", "workspace"),
        ("workspace", "workspace"),
        (r"a\/", "a"),
        (r"a\\/", r"a\\"),
        ("(a/|b/)", "(a/|b/)"),
    ] {
        assert_eq!(SourcePattern::compile(pattern, 1).unwrap().as_str(), name);
    }
}

/// Whether the engine takes it with what it is said to weigh.
fn builds_within_its_weight(pattern: &str) -> bool {
    let ast = parse(pattern).unwrap();
    let mut body = String::new();
    ast.emit(&mut body);
    let built = RegexBuilder::new(&body)
        .size_limit(ast.weight() + OVERHEAD)
        .nest_limit(MAX_COMPILED_NESTING)
        .build();
    !matches!(built, Err(regex::Error::CompiledTooBig(_)))
}

/// What the engine adds to each pattern to find it anywhere, and for the match itself.
const OVERHEAD: usize = 500;

#[test]
fn what_a_pattern_weighs_is_at_least_what_it_comes_to() {
    let many = ('\u{100}'..'\u{2000}').step_by(60).collect::<String>();
    let pairs: String = ('\u{100}'..'\u{20000}')
        .step_by(2000)
        .map(|c| format!("{c}-\\x{{{:x}}}", u32::from(c) + 999))
        .collect();
    for pattern in [
        "",
        "a",
        "a|b",
        ".",
        "(?s).",
        "[^/]",
        r"\W",
        r"\pL",
        r"\PL",
        r"\p{Any}",
        r"[\x{80}-\x{10fffe}]",
        r"\p{Lo}",
        r"\p{Ll}",
        r"\p{Lu}",
        r"\PM",
        r"\P{Cn}",
        r"\pC",
        r"\p{^Lu}",
        r"\pS",
        "(?i)\\pL",
        "(?i)\\p{Lu}",
        "(?i)\\P{Lu}",
        "(?i)k",
        "(?i)ſ",
        "(?i).",
        "(?i)[^a]",
        "日本",
        "(?i)ü",
        "[α-ω]",
        "(?i)[α-ω]",
        "a*",
        "a+",
        "a?",
        "(?:a|b)*",
        "[[:^alpha:]]",
        r"[\pL\pN\pS]",
        "(?i)[ა-ჺ]",
        "(?i)[^ſ]",
        &format!("[{many}]"),
        &format!("[^{many}]"),
        &format!("(?i)[{many}]"),
        &format!("[{pairs}]"),
        &format!("[^{pairs}]"),
    ] {
        for repeat in [1, 2, 3, 20] {
            let pattern = format!("(?:{pattern}){{{repeat}}}");
            assert!(
                builds_within_its_weight(&pattern),
                "{pattern:?}: {}",
                parse(&pattern).unwrap().weight()
            );
        }
    }
}

proptest! {
    #[test]
    fn what_any_likely_pattern_weighs_is_at_least_what_it_comes_to(
        pattern in r"((\(\?i\))?([a/.K日]|\[\^?[a-cé]{1,3}\]|\\[pP][LNMCS]|\\W|\((a|\.|\|){1,3}\))([*+?]|\{[1-5](,[5-9]?)?\})?){0,6}",
    ) {
        prop_assert!(parse(&pattern).is_err() || builds_within_its_weight(&pattern), "{}", pattern);
    }

    #[test]
    fn no_pattern_and_no_path_panics(pattern in any::<String>(), path in any::<String>(), depth in 1_usize..5) {
        if let Ok(source) = SourcePattern::compile(&pattern, depth) {
            prop_assert_eq!(source.locate(&path), source.locate(&path));
        }
    }

    #[test]
    fn no_likely_pattern_panics(
        pattern in r"([a/.*+?|(){}\[\]^$\\0-9,:\-PQEdw<>iU]|\[:alpha:\]|\(\?|\\Q|[a-z]/){0,20}",
        path in "([a-c.+]{1,2}/){0,5}[a-c]",
    ) {
        if let Ok(source) = SourcePattern::compile(&pattern, 1) {
            // What is found is a part of the path, in whole segments.
            if let SourceMatch::Component { source, name } = source.locate(&path) {
                let whole = format!("{source}/{name}/");
                prop_assert!(path.starts_with(&whole));
                prop_assert!(!name.contains('/') && !name.is_empty());
            }
        }
    }

    #[test]
    fn a_literal_path_matches_itself_and_nothing_beside_it(segments in proptest::collection::vec("[a-z.+ü]{1,4}", 1..4)) {
        let path = segments.join("/");
        let source = SourcePattern::compile(&format!("\\Q{path}\\E/"), 1).unwrap();
        let inside = format!("{path}/nginx/file");
        let beside = format!("{path}x/nginx/file");
        prop_assert_eq!(source.locate(&inside), SourceMatch::Component { source: &path, name: "nginx" });
        prop_assert_eq!(source.locate(&beside), SourceMatch::None);
    }
}
