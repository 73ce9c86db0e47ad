use super::*;

fn policy(yaml: &str) -> ComponentPolicy {
    ComponentPolicy::compile("workspace/nginx/telefonistka.yaml", yaml).unwrap()
}

fn path(path: &str) -> PathInRepo {
    PathInRepo::parse(path).unwrap()
}

fn refusal(yaml: &str, target: &str, name: &str) -> Option<String> {
    let target = path(target);
    policy(yaml).refusal(&Target::directory(target.clone()), &target.join(&path(name)))
}

#[test]
fn an_empty_policy_allows_everything() {
    for yaml in [
        "",
        "{}",
        "promotionTargetAllowList: []\n",
        "promotionTargetAllowList:\npromotionTargetBlockList: []\n",
        "disableArgoCDDiff: yes\n",
    ] {
        assert_eq!(refusal(yaml, "env/prod/c1", "nginx"), None, "{yaml:?}");
    }
    assert!(policy("disableArgoCDDiff: yes").disables_diff());
    assert!(!policy("").disables_diff());
}

#[test]
fn a_list_means_the_configured_target_as_in_telefonistka_and_the_component_as_documented() {
    for (pattern, target, name, meant) in [
        // The examples of Telefonistka's documentation.
        (
            "env/staging/europe-west4/c1.*",
            "env/staging/europe-west4/c1",
            "nginx",
            true,
        ),
        (
            "env/prod/us-central1/c3/",
            "env/prod/us-central1/c3",
            "nginx",
            true,
        ),
        ("env/prod/.*", "env/prod/us-central1/c3", "nginx", true),
        ("env/(dev|lab)/.*", "env/lab/us-central1/c3", "nginx", true),
        ("env/(dev|lab)/.*", "env/prod/us-central1/c3", "nginx", false),
        // Anywhere in the configured target, with or without its slash.
        ("prod", "env/prod/c3", "nginx", true),
        ("c3$", "env/prod/c3", "nginx", true),
        ("c3/$", "env/prod/c3", "nginx", true),
        ("^env/prod/c3/$", "env/prod/c3", "nginx", true),
        ("^prod", "env/prod/c3", "nginx", false),
        // The component's path, from its start.
        ("env/prod/c3/nginx$", "env/prod/c3", "nginx", true),
        ("env/[^/]+/c3/nginx", "env/prod/c3", "nginx", true),
        ("env/prod/c3/redis", "env/prod/c3", "nginx", false),
        // A component's name that happens to hold the word.
        ("dev", "env/prod/c3", "devtools", false),
        ("c3/n|x", "env/prod/c3", "nginx", false),
    ] {
        let block = format!("promotionTargetBlockList:\n  - '{pattern}'\n");
        let allow = format!("promotionTargetAllowList:\n  - '{pattern}'\n");
        assert_eq!(
            refusal(&block, target, name).is_some(),
            meant,
            "block {pattern:?}"
        );
        assert_eq!(
            refusal(&allow, target, name).is_none(),
            meant,
            "allow {pattern:?}"
        );
    }
}

#[test]
fn block_beats_allow_and_both_name_their_line() {
    let yaml = "promotionTargetAllowList:\n  - env/prod/\n  - env/lab/\npromotionTargetBlockList:\n  - nothing\n  - env/prod/c3\n";
    assert_eq!(
        refusal(yaml, "env/prod/c3", "nginx").unwrap(),
        "blocked by promotionTargetBlockList (workspace/nginx/telefonistka.yaml:6)"
    );
    assert_eq!(
        refusal(yaml, "env/staging/c3", "nginx").unwrap(),
        "not in promotionTargetAllowList (workspace/nginx/telefonistka.yaml:2)"
    );
    assert_eq!(refusal(yaml, "env/prod/c1", "nginx"), None);
}

#[test]
fn a_bad_list_is_an_error_and_never_an_open_door() {
    for (yaml, expected) in [
        (
            "promotionTargetBlockList:\n  - env/(prod\n",
            "2:5: expected a regular expression in Go's syntax: a group is not closed",
        ),
        (
            "promotionTargetBlockList: env/prod\n",
            "1:27: found a single value; expected a list of regular expressions",
        ),
        (
            "promotionTargetAllowList: [[a]]\n",
            "1:28: found a list; expected a text",
        ),
        (
            "promotionTargetAllowList: [~]\n",
            "1:28: found nothing; expected a text",
        ),
        ("- a\n", "1:1: found a list; expected a map"),
        ("disableArgoCDDiff: 'true'\n", "1:20: found quoted text"),
        ("a: [", "1:4: this is not valid YAML"),
    ] {
        let errors = ComponentPolicy::compile("c/telefonistka.yaml", yaml).unwrap_err();
        assert!(
            errors
                .to_string()
                .starts_with(&format!("c/telefonistka.yaml:{expected}")),
            "{yaml:?}: {errors}"
        );
    }
    let long = format!("promotionTargetBlockList:\n{}", "- a\n".repeat(251));
    assert!(ComponentPolicy::compile("c", &long).is_err());
}

#[test]
fn unknown_keys_are_warned_of() {
    let policy = policy("promotionTargetBlocklist: [env/prod]\n");
    assert_eq!(
        policy.warnings()[0].to_string(),
        "workspace/nginx/telefonistka.yaml:1:1: unknown key `promotionTargetBlocklist` is ignored; did you mean `promotionTargetBlockList`?"
    );
}

/// A file whose two lists hold 250 entries each.
fn both_lists(entry: impl Fn(usize) -> String) -> String {
    ["Allow", "Block"]
        .iter()
        .map(|list| {
            let entries: String = (0..250)
                .map(|index| format!("  - '{}'\n", entry(index)))
                .collect();
            format!("promotionTarget{list}List:\n{entries}")
        })
        .collect()
}

#[test]
fn a_small_file_of_costly_patterns_is_refused_before_they_are_compiled() {
    let one = |pattern: &str| {
        let yaml = format!("promotionTargetBlockList:\n  - '{pattern}'\n");
        ComponentPolicy::compile("c", &yaml)
    };
    assert!(one(r"\pL").is_ok());
    let error = one(r"\pL{20}").unwrap_err();
    assert!(
        error.to_string().starts_with("c:2:5: ") && error.to_string().contains("64 KiB"),
        "{error}"
    );

    let errors = ComponentPolicy::compile("c", &both_lists(|index| format!(r"\pL{index}"))).unwrap_err();
    assert_eq!(errors.iter().count(), 1, "{errors}");
    assert!(
        errors.first().line > 10 && errors.first().line < 252 && errors.first().column == 5,
        "{errors}"
    );
    assert!(errors.to_string().contains("the file's patterns"), "{errors}");
}

#[test]
fn two_full_lists_of_ordinary_patterns_are_taken() {
    let policy = policy(&both_lists(|index| {
        format!("clusters/(prod|staging)/us-central1/[^/]+/c{index}.*")
    }));
    let (target, component) = (
        path("clusters/prod/us-central1/a/c249"),
        path("clusters/prod/us-central1/a/c249/x"),
    );
    assert!(
        policy
            .refusal(&Target::directory(target), &component)
            .unwrap()
            .contains("promotionTargetBlockList")
    );
}
