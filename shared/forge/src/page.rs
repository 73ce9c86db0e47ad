//! Lists that come in pages.
//!
//! Only path and query of a `Link` are used: on Enterprise Server its host may be another than the one we were given, and
//! the token must not follow it there.

use http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;

use crate::limit::text;
use crate::route::Route;
use crate::session::Session;
use crate::{ForgeError, answer::Answer};

/// More pages than any list that is read to its end: 10,000 entries.
const MAX_PAGES: usize = 100;

/// The pages of one list, oldest request first.
pub(crate) struct Pages<'a> {
    session: &'a Session,
    route: &'a Route,
    next: Option<String>,
    read: usize,
}

impl<'a> Pages<'a> {
    /// Begins at `path`, which should ask for 100 entries a page. A page is a list in most places, and an object around one in some.
    pub(crate) async fn begin<P: DeserializeOwned>(
        session: &'a Session,
        route: &'a Route,
        path: &str,
    ) -> Result<(Self, P), ForgeError> {
        let answer = session.read(route, path).await?;
        let mut pages = Self {
            session,
            route,
            next: None,
            read: 0,
        };
        let first = pages.take(answer)?;
        Ok((pages, first))
    }

    /// The next page; none after the last.
    pub(crate) async fn next<P: DeserializeOwned>(&mut self) -> Result<Option<P>, ForgeError> {
        let Some(next) = self.next.take() else {
            return Ok(None);
        };
        if self.read >= MAX_PAGES {
            return Err(ForgeError::Endless {
                call: self.session.call(self.route, &next),
                pages: self.read,
            });
        }
        let answer = self.session.read_link(self.route, &next).await?;
        self.take(answer).map(Some)
    }

    /// Takes a page, and the address of the next.
    fn take<P: DeserializeOwned>(&mut self, answer: Answer) -> Result<P, ForgeError> {
        let answer = answer.success()?;
        self.read += 1;
        if let Some(link) = next_link(answer.headers()) {
            let target = link
                .parse::<Uri>()
                .ok()
                .and_then(|uri| uri.path_and_query().map(|target| target.as_str().to_owned()))
                .filter(|target| self.session.is_rest(target));
            // A list that goes on where we cannot follow is not whole.
            let Some(target) = target else {
                return Err(ForgeError::Redirected {
                    target: crate::answer::shorten(link),
                    call: answer.call,
                });
            };
            self.next = Some(target);
        }
        answer.json()
    }
}

/// All entries of the list at `path`.
pub(crate) async fn all<T: DeserializeOwned>(
    session: &Session,
    route: &Route,
    path: &str,
) -> Result<Vec<T>, ForgeError> {
    let (mut pages, mut items) = Pages::begin::<Vec<T>>(session, route, path).await?;
    while let Some(more) = pages.next::<Vec<T>>().await? {
        items.extend(more);
    }
    Ok(items)
}

/// The target of `rel="next"` (RFC 8288).
fn next_link(headers: &HeaderMap) -> Option<&str> {
    let mut rest = text(headers, "link")?;
    loop {
        let (_, from_target) = rest.split_once('<')?;
        let (target, after) = from_target.split_once('>')?;
        let (parameters, others) = after.split_once('<').map_or((after, ""), |(parameters, _)| {
            (parameters, after.get(parameters.len()..).unwrap_or_default())
        });
        let is_next = parameters
            .trim_end_matches([',', ' '])
            .split(';')
            .any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
        if is_next {
            return Some(target);
        }
        rest = others;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_the_links() {
        let cases = [
            (
                "<https://x/a?page=2>; rel=\"next\", <https://x/a?page=9>; rel=\"last\"",
                Some("https://x/a?page=2"),
            ),
            (
                "<https://x/a?page=1>; rel=\"prev\", <https://x/a?a=1,2&page=3>; rel=\"next\"",
                Some("https://x/a?a=1,2&page=3"),
            ),
            ("<https://x/a?page=1>; rel=\"first\"", None),
            ("garbage", None),
        ];
        for (link, expected) in cases {
            let headers = HeaderMap::from_iter([(http::header::LINK, link.parse().unwrap())]);
            assert_eq!(next_link(&headers), expected, "{link}");
        }
        assert_eq!(next_link(&HeaderMap::new()), None);
    }
}
