//! GitHub's documented example, line by line, and the corners that it does not show.

use super::*;

/// The lines of the example in GitHub's documentation, its comments left out.
const EXAMPLE: &str = "\
# This is a comment.
*       @global-owner1 @global-owner2
*.js    @js-owner #This is an inline comment.
*.go docs@example.com
*.txt @octo-org/octocats
/build/logs/ @doctocat
docs/* docs@example.com
apps/ @octocat
/docs/ @doctocat
/scripts/ @doctocat @octocat
**/logs @octocat
";

fn said(text: &str, path: &str) -> String {
    let owners = CodeOwners::parse(text).unwrap();
    let words: Vec<String> = owners.owners(path).iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// Whether a pattern alone matches a path.
fn matches(pattern: &str, path: &str) -> bool {
    let owners = CodeOwners::parse(&format!("{pattern} @somebody")).unwrap();
    assert!(owners.skipped().is_empty(), "{pattern}: {:?}", owners.skipped());
    !owners.owners(path).is_empty()
}

#[test]
fn the_example_of_the_documentation_says_what_its_comments_say() {
    for (path, owners) in [
        ("README.md", "@global-owner1 @global-owner2"),
        ("src/deep/main.rs", "@global-owner1 @global-owner2"),
        ("main.js", "@js-owner"),
        ("web/src/main.js", "@js-owner"),
        ("cmd/main.go", "docs@example.com"),
        ("notes/a.txt", "@octo-org/octocats"),
        // Of the lines that match, the last counts: `**/logs` stands below `/build/logs/`.
        ("build/logs/today.log", "@octocat"),
        ("build/logs/deep/today.log", "@octocat"),
        ("scripts/logs/x", "@octocat"),
        ("deeply/nested/logs/x.txt", "@octocat"),
        ("apps/web/main.js", "@octocat"),
        ("teams/apps/web/main.js", "@octocat"),
        ("docs/getting-started.md", "@doctocat"),
        ("docs/build-app/troubleshooting.md", "@doctocat"),
        ("scripts/run.sh", "@doctocat @octocat"),
    ] {
        assert_eq!(said(EXAMPLE, path), owners, "{path}");
    }
}

#[test]
fn a_pattern_matches_as_the_documentation_says() {
    for (pattern, path, does) in [
        ("*", "a", true),
        ("*", "a/b/c", true),
        ("/*", "a", true),
        ("/*", "a/b", false),
        ("*.js", "a/b/x.js", true),
        ("*.js", "a/x.jsx", false),
        ("/build/logs/", "build/logs/a", true),
        ("/build/logs/", "build/logs/a/b", true),
        ("/build/logs/", "build/logs", false),
        ("/build/logs/", "x/build/logs/a", false),
        ("docs/*", "docs/getting-started.md", true),
        ("docs/*", "docs/build-app/troubleshooting.md", false),
        ("docs/*", "x/docs/a.md", false),
        ("apps/", "apps/a", true),
        ("apps/", "x/y/apps/a/b", true),
        ("apps/", "apps", false),
        ("/docs/", "docs/a", true),
        ("/docs/", "x/docs/a", false),
        ("**/logs", "build/logs/a", true),
        ("**/logs", "deeply/nested/logs/a", true),
        ("**/logs", "logs/a", true),
        ("**/logs", "catalogs/a", false),
        ("/apps/github", "apps/github/a", true),
        ("/apps/github", "apps/github", true),
        ("/apps/github", "apps/github2", false),
        ("apps/github", "x/apps/github", false),
        ("github", "a/github/b", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/x/y/b/c", true),
        ("a/**/b", "x/a/b", false),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("**", "a/b", true),
        ("**/", "a/b", true),
        ("**/", "a", false),
        ("a/**/", "a/b", false),
        ("a/**/", "a/b/c", true),
        ("a/*/c", "a/b/c", true),
        ("a/*/c", "a/b/b/c", false),
        ("?.md", "a.md", true),
        ("?.md", "ab.md", false),
        ("?.md", "ü.md", true),
        ("a*b*c", "aXbXbXc", true),
        ("a*b*c", "aXcXb", false),
        ("my\\ file.md", "docs/my file.md", true),
        ("\\*.md", "*.md", true),
        ("\\*.md", "a.md", false),
        ("README.md", "readme.md", false),
        (".github/", ".github/workflows/x.yml", true),
        ("a#b", "a#b", true),
        ("/", "a", false),
        ("a//b", "a/b", false),
    ] {
        assert_eq!(matches(pattern, path), does, "{pattern} {path}");
    }
}

#[test]
fn a_pattern_without_owners_takes_files_away() {
    let text = "/apps/ @octocat\n/apps/github\n";
    assert_eq!(said(text, "apps/web"), "@octocat");
    assert_eq!(said(text, "apps/github/x"), "");
    let owners = CodeOwners::parse(text).unwrap();
    assert_eq!(owners.rule("apps/github/x").map(|rule| rule.line), Some(2));
    assert_eq!(owners.rule("other"), None);
}

#[test]
fn a_line_that_github_does_not_take_is_left_out_and_named() {
    let text = "* @first\n!x @a\n[ab].md @a\n\\#x @a\nx.md @bad!name\ny.md nobody\nz.md @org/team/more\nw\\\nlast.md @last\n";
    let owners = CodeOwners::parse(text).unwrap();
    let lines: Vec<usize> = owners.skipped().iter().map(|skipped| skipped.line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8]);
    for path in ["x", "a.md", "x.md", "y.md", "z.md"] {
        assert_eq!(said(text, path), "@first", "{path}");
    }
    assert_eq!(said(text, "last.md"), "@last");
}

#[test]
fn owners_are_people_teams_and_addresses() {
    let owners = CodeOwners::parse("\u{feff}*\t@ann @acme/platform-team  ben@example.com # why\r\n").unwrap();
    let expected = [
        Owner::User(Login::parse("ann").unwrap()),
        Owner::Team {
            org: Login::parse("acme").unwrap(),
            slug: "platform-team".to_owned(),
        },
        Owner::Email("ben@example.com".to_owned()),
    ];
    assert_eq!(owners.owners("a"), expected);
}

#[test]
fn a_file_that_github_does_not_load_is_an_error_and_not_without_owners() {
    let text = "# x\n".repeat(MAX_BYTES / 4);
    assert!(CodeOwners::parse(&text).is_ok());
    let error = CodeOwners::parse(&format!("{text}#")).unwrap_err();
    assert_eq!(error, TooLarge::Bytes { bytes: MAX_BYTES + 1 });
    assert_eq!(error.class(), ErrorClass::User);
}

#[test]
fn more_rules_than_are_taken_are_an_error_and_not_left_out() {
    for line in ["a @ann\n", "a\n", "!left-out\n"] {
        let text = format!("# x\n\n{}", line.repeat(MAX_RULES));
        assert!(CodeOwners::parse(&text).is_ok(), "{line}");
        let error = CodeOwners::parse(&format!("{text}b")).unwrap_err();
        assert_eq!(error, TooLarge::Rules, "{line}");
        assert_eq!(error.class(), ErrorClass::User);
        assert!(error.to_string().contains("20000 lines"), "{error}");
    }
    assert_eq!(
        CodeOwners::parse(&"a\n".repeat(MAX_BYTES / 2)),
        Err(TooLarge::Rules)
    );
}

#[test]
fn names_of_many_bytes_a_character_are_compared_by_characters() {
    for (pattern, path, does) in [
        ("*ü?.md", "xüü€.md", true),
        ("*ü?.md", "xü.md", false),
        ("/€*/ü", "€uro/ü/x", true),
        ("/€*/ü", "uro/ü/x", false),
    ] {
        assert_eq!(matches(pattern, path), does, "{pattern} {path}");
    }
}

#[test]
fn a_pattern_of_many_wildcards_takes_no_longer_than_others() {
    let pattern = format!("{}b", "*a".repeat(200));
    assert!(!matches(&pattern, &"a".repeat(3_000)));
    let deep = format!("{}x", "**/a/".repeat(100));
    assert!(!matches(&deep, &"a/".repeat(500)));
}
