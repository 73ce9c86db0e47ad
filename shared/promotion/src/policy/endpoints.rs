//! Where a push is passed on to.

use std::collections::HashSet;

use super::pattern::ReplacePattern;
use super::{Settings, WebhookEndpoint};

/// To how many endpoints one push is passed on, at most: a pattern can make one of each changed path.
pub const MAX_ENDPOINTS: usize = 100;

/// Where a push is passed on to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The addresses, each once, in the order of the paths. They are what the policy makes of a path, and perhaps no addresses at all.
    pub addresses: Vec<String>,
    /// How many more there would be, beyond [`MAX_ENDPOINTS`].
    pub left_out: usize,
}

impl Settings {
    /// Where a push that changes these paths is passed on to.
    ///
    /// As in Telefonistka (`webhookEndpointRegexs`), the first entry whose expression is found anywhere in a path is the path's. What is found is
    /// replaced by each of the entry's addresses; the rest of the path stays around it.
    #[must_use]
    pub fn endpoints<'p>(&self, paths: impl IntoIterator<Item = &'p str>) -> Endpoints {
        // They were compiled when the policy was read, so that none fails here.
        let entries: Vec<(ReplacePattern, &WebhookEndpoint)> = self
            .webhook_endpoints
            .iter()
            .filter_map(|entry| Some((ReplacePattern::compile(&entry.expression).ok()?, entry)))
            .collect();
        let mut endpoints = Endpoints::default();
        let mut seen = HashSet::new();
        for path in paths {
            let found = entries.iter().find_map(|(pattern, entry)| {
                let made = |address: &String| pattern.replace(path, address);
                let addresses: Vec<String> = entry.replacements.iter().filter_map(made).collect();
                // Without addresses an entry that matches still ends the search.
                pattern.replace(path, "").map(|_| addresses)
            });
            for address in found.unwrap_or_default() {
                if !seen.insert(address.clone()) {
                    continue;
                }
                if endpoints.addresses.len() < MAX_ENDPOINTS {
                    endpoints.addresses.push(address);
                } else {
                    endpoints.left_out += 1;
                }
            }
        }
        endpoints
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, TELEFONISTKA_FILE};

    fn settings(entries: &[(&str, &[&str])]) -> Settings {
        let mut yaml = "webhookEndpointRegexs:\n".to_owned();
        for (expression, addresses) in entries {
            yaml.push_str(&format!(
                "- expression: '{expression}'\n  replacements: {addresses:?}\n"
            ));
        }
        let policy = Policy::compile(TELEFONISTKA_FILE, &yaml).unwrap();
        policy.settings().clone()
    }

    #[test]
    fn the_first_expression_that_matches_a_path_says_where_its_push_goes() {
        let settings = settings(&[
            (
                r"^workspace/([^/]*)/.*",
                &["https://a.example/${1}", "https://b.example/$1"],
            ),
            (r"^(?:work|team)[a-z]*/.*$", &["https://c.example/"]),
            (r"^silent/.*", &[]),
            (r".*\.md$", &["https://docs.example/"]),
            (r"^(?P<area>clusters)/(?i:PROD)/.*", &["https://d.example/$area"]),
        ]);
        let to = |paths: &[&str]| settings.endpoints(paths.iter().copied()).addresses;
        assert_eq!(
            to(&["workspace/checkout/values.yaml", "workspace/checkout/more.md"]),
            ["https://a.example/checkout", "https://b.example/checkout"],
            "each address once, and by the first entry alone"
        );
        assert_eq!(
            to(&["teams/x", "README.md"]),
            ["https://c.example/", "https://docs.example/"]
        );
        assert_eq!(
            to(&["silent/README.md"]),
            [""; 0],
            "the first entry is the path's, even without addresses"
        );
        assert_eq!(to(&["clusters/prod/x"]), ["https://d.example/clusters"]);
        assert_eq!(to(&["elsewhere/x"]), [""; 0]);
    }

    #[test]
    fn what_does_not_match_stays_around_the_address() {
        let settings = settings(&[("^workspace/", &["https://a.example/?path="])]);
        let endpoints = settings.endpoints(["workspace/x.yaml"]);
        assert_eq!(endpoints.addresses, ["https://a.example/?path=x.yaml"]);
    }

    #[test]
    fn a_push_of_many_paths_goes_to_so_many_endpoints_and_no_more() {
        let settings = settings(&[("^(.*)$", &["https://a.example/$1"])]);
        let paths: Vec<String> = (0..150).map(|n| format!("p{n}")).collect();
        let endpoints = settings.endpoints(paths.iter().map(String::as_str));
        assert_eq!(
            (endpoints.addresses.len(), endpoints.left_out),
            (MAX_ENDPOINTS, 50)
        );
    }
}
