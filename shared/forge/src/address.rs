//! Where the REST API, GraphQL, the pages and git of one GitHub are.

use std::net::IpAddr;

use http::Uri;
use lockflight_promotion::RepoName;

use crate::ForgeError;

/// The addresses of one GitHub, derived from that of its REST API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// Scheme and authority of the API: `https://api.github.com`.
    pub(crate) origin: Uri,
    /// What comes before each REST path: empty on github.com, `/api/v3` on Enterprise Server.
    pub(crate) rest: String,
    /// The path of GraphQL, which is not below that of REST on Enterprise Server.
    pub(crate) graphql: String,
    /// The pages, and git over HTTP: `https://github.com`, without a slash at the end.
    pub(crate) web: String,
}

impl Addresses {
    /// Derives the addresses from `api_url`; `web_url` overrides that of the pages.
    pub(crate) fn derive(api_url: &str, web_url: Option<&str>) -> Result<Self, ForgeError> {
        let api = parse(api_url, "the API address")?;
        let (scheme, authority) = (api.scheme, api.authority);
        let host = host_of(&authority).to_ascii_lowercase();
        let (graphql, derived_web) = if let Some(before) = api.path.strip_suffix("/api/v3") {
            (
                format!("{before}/api/graphql"),
                format!("{scheme}://{authority}{before}"),
            )
        } else if host == "api.github.com" && api.path.is_empty() {
            ("/graphql".to_owned(), "https://github.com".to_owned())
        } else if let Some(tenant) = data_residency_host(&host).filter(|_| api.path.is_empty()) {
            // https://docs.github.com/en/enterprise-cloud@latest/admin/data-residency
            ("/graphql".to_owned(), format!("https://{tenant}"))
        } else {
            return Err(ForgeError::config(format!(
                "the API address {api_url:?} is neither https://api.github.com nor https://HOST/api/v3: \
                 for Enterprise Server, put /api/v3 at its end"
            )));
        };
        let web = match web_url {
            Some(web_url) => {
                let web = parse(web_url, "the web address")?;
                format!("{}://{}{}", web.scheme, web.authority, web.path)
            }
            None => derived_web,
        };
        let origin = Uri::builder()
            .scheme(scheme.as_str())
            .authority(authority.as_str())
            .path_and_query("/")
            .build()
            .map_err(|error| {
                ForgeError::config(format!("the API address {api_url:?} is not valid: {error}"))
            })?;
        Ok(Self {
            origin,
            rest: api.path,
            graphql,
            web,
        })
    }

    /// Whether the API is reached without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.origin.scheme_str() == Some("http")
    }

    /// The address that git clones `repository` from.
    pub(crate) fn git(&self, repository: &RepoName) -> String {
        format!("{}/{repository}.git", self.web)
    }
}

struct Parts {
    scheme: String,
    authority: String,
    path: String,
}

fn parse(url: &str, what: &str) -> Result<Parts, ForgeError> {
    let invalid =
        |reason: &str| ForgeError::config(format!("{what} {reason}, for example https://api.github.com"));
    let uri: Uri = url
        .trim()
        .parse()
        .map_err(|error| invalid(&format!("is not valid ({error}); it should be a web address")))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(invalid("has no host; it should be a web address"));
    };
    if authority.as_str().contains('@') {
        // Not repeated in the message: what stands before the @ may be a secret.
        return Err(invalid(
            "must not contain a user or password; it should be a plain web address",
        ));
    }
    if uri.query().is_some() {
        return Err(invalid("must not have a query; it should be a plain web address"));
    }
    match scheme {
        "https" => {}
        "http" if is_loopback(host_of(authority.as_str())) => {}
        "http" => {
            return Err(ForgeError::config(format!(
                "{what} {url:?} is not encrypted, and the token would travel in the clear: use https \
                 (http is accepted on a loopback address only)"
            )));
        }
        _ => return Err(invalid("must begin with https://")),
    }
    Ok(Parts {
        scheme: scheme.to_owned(),
        authority: authority.to_string(),
        path: uri.path().trim_end_matches('/').to_owned(),
    })
}

/// The host of an authority without its port; an IPv6 address keeps its brackets.
fn host_of(authority: &str) -> &str {
    if authority.starts_with('[') {
        authority.split_inclusive(']').next().unwrap_or(authority)
    } else {
        authority.split(':').next().unwrap_or(authority)
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// `acme.ghe.com` of `api.acme.ghe.com`.
fn data_residency_host(host: &str) -> Option<&str> {
    host.strip_prefix("api.")
        .filter(|rest| rest.ends_with(".ghe.com"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_github_has_its_addresses() {
        let cases = [
            (
                "https://api.github.com",
                "https://api.github.com/",
                "",
                "/graphql",
                "https://github.com",
            ),
            (
                "https://api.github.com/",
                "https://api.github.com/",
                "",
                "/graphql",
                "https://github.com",
            ),
            (
                "https://ghe.example/api/v3/",
                "https://ghe.example/",
                "/api/v3",
                "/api/graphql",
                "https://ghe.example",
            ),
            (
                "https://example.org/code/api/v3",
                "https://example.org/",
                "/code/api/v3",
                "/code/api/graphql",
                "https://example.org/code",
            ),
            (
                "https://api.acme.ghe.com",
                "https://api.acme.ghe.com/",
                "",
                "/graphql",
                "https://acme.ghe.com",
            ),
            (
                "http://127.0.0.1:4711/api/v3",
                "http://127.0.0.1:4711/",
                "/api/v3",
                "/api/graphql",
                "http://127.0.0.1:4711",
            ),
            (
                "http://[::1]:80/api/v3",
                "http://[::1]:80/",
                "/api/v3",
                "/api/graphql",
                "http://[::1]:80",
            ),
        ];
        for (api, origin, rest, graphql, web) in cases {
            let found = Addresses::derive(api, None).unwrap();
            assert_eq!(found.origin.to_string(), origin, "{api}");
            assert_eq!(
                (found.rest.as_str(), found.graphql.as_str(), found.web.as_str()),
                (rest, graphql, web),
                "{api}"
            );
        }
    }

    #[test]
    fn the_web_address_can_be_given() {
        let found = Addresses::derive("https://api.github.com", Some("https://mirror.example/git/")).unwrap();
        let name = RepoName::parse("acme/gitops").unwrap();
        assert_eq!(found.git(&name), "https://mirror.example/git/acme/gitops.git");
    }

    #[test]
    fn an_address_that_would_leak_or_mislead_is_refused() {
        for (api, reason) in [
            ("http://github.example/api/v3", "in the clear"),
            ("https://ghe.example", "/api/v3"),
            ("https://user:secret@ghe.example/api/v3", "user or password"),
            ("ftp://ghe.example/api/v3", "https://"),
            ("ghe.example/api/v3", "no"),
            ("https://ghe.example/api/v3?x=1", "query"),
            ("", "not valid"),
        ] {
            let error = Addresses::derive(api, None).unwrap_err().to_string();
            assert!(error.contains(reason), "{api}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
