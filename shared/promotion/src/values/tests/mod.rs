mod json;
mod made;
mod paths;
mod properties;
mod real;
mod refusals;
mod toml;
mod yaml;
mod yaml_set;

use super::*;

fn keys(keys: &[&str]) -> Vec<KeyPath> {
    keys.iter().map(|key| KeyPath::parse(key).unwrap()).collect()
}

/// A transfer of keys, parted by spaces, and the exact target that comes of it.
struct Case {
    name: &'static str,
    keys: &'static str,
    source: &'static str,
    target: &'static str,
    result: &'static str,
}

const fn case(
    name: &'static str,
    keys: &'static str,
    source: &'static str,
    target: &'static str,
    result: &'static str,
) -> Case {
    Case {
        name,
        keys,
        source,
        target,
        result,
    }
}

fn check(format: Format, cases: &[Case]) {
    for case in cases {
        let Case {
            name,
            source,
            target,
            result,
            ..
        } = case;
        let keys = keys(&case.keys.split(' ').collect::<Vec<_>>());
        let edited = transfer(format, source, target, &keys).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(
            edited, *result,
            "{name}\n--- got\n{edited}\n--- expected\n{result}"
        );
        let again = transfer(format, source, &edited, &keys).unwrap_or_else(|e| panic!("{name}, again: {e}"));
        assert_eq!(again, edited, "{name}: done again");
    }
}

/// A transfer that is refused, and what is said.
struct Refusal {
    name: &'static str,
    keys: &'static str,
    source: &'static str,
    target: &'static str,
    says: &'static str,
}

fn check_refusals(format: Format, cases: &[Refusal]) {
    for case in cases {
        let Refusal {
            name,
            source,
            target,
            says,
            ..
        } = case;
        let keys = keys(&case.keys.split(' ').collect::<Vec<_>>());
        match transfer(format, source, target, &keys) {
            Ok(edited) => panic!("{name}: not refused\n{edited}"),
            Err(error) => {
                assert_eq!(error.to_string(), *says, "{name}");
                assert_eq!(error.class(), crate::ErrorClass::User, "{name}");
            }
        }
    }
}
