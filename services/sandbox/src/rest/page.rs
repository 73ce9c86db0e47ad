//! Pages of lists, and the `Link` header between them.

use axum::response::Response;
use http::{HeaderValue, header};
use serde::Deserialize;

/// Which page of a list is wanted, from the query.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Page {
    page: Option<i64>,
    per_page: Option<i64>,
}

/// GitHub's page size where none is asked for.
const DEFAULT_SIZE: i64 = 30;
/// GitHub's largest page.
const LARGEST_SIZE: i64 = 100;

impl Page {
    /// Tells whether the caller asked for pages at all.
    pub(super) const fn is_asked_for(self) -> bool {
        self.page.is_some() || self.per_page.is_some()
    }

    pub(super) fn number(self) -> usize {
        usize::try_from(self.page.unwrap_or(1).max(1)).unwrap_or(1)
    }

    pub(super) fn size(self) -> usize {
        let asked = self.per_page.filter(|size| *size > 0).unwrap_or(DEFAULT_SIZE);
        usize::try_from(asked.min(LARGEST_SIZE)).unwrap_or(1)
    }

    /// Cuts the page out of a list.
    pub(super) fn cut<T>(self, items: &[T]) -> &[T] {
        let from = self.size().saturating_mul(self.number() - 1).min(items.len());
        let to = from.saturating_add(self.size()).min(items.len());
        items.get(from..to).unwrap_or_default()
    }

    /// Adds the `Link` header that leads to the other pages.
    pub(super) fn link(self, mut answer: Response, address: &str, total: usize) -> Response {
        let last = total.div_ceil(self.size()).max(1);
        let number = self.number();
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let kept: Vec<&str> = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.starts_with("page="))
            .collect();
        let link = |to: usize, rel: &str| {
            let mut pairs = kept.clone();
            let page = format!("page={to}");
            pairs.push(&page);
            format!("<{path}?{}>; rel=\"{rel}\"", pairs.join("&"))
        };
        let mut links = Vec::new();
        if number > 1 {
            links.push(link((number - 1).min(last), "prev"));
        }
        if number < last {
            links.push(link(number + 1, "next"));
            links.push(link(last, "last"));
        }
        if number > 1 {
            links.push(link(1, "first"));
        }
        if !links.is_empty()
            && let Ok(value) = HeaderValue::try_from(links.join(", "))
        {
            answer.headers_mut().insert(header::LINK, value);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use axum::response::Response;

    use super::Page;

    fn links(page: Page, total: usize) -> String {
        let answer = page.link(
            Response::default(),
            "http://x/api/v3/y?per_page=2&page=9&state=all",
            total,
        );
        answer
            .headers()
            .get("link")
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default()
    }

    #[test]
    fn links_lead_to_the_neighbours_and_the_ends() {
        let page = Page {
            page: Some(2),
            per_page: Some(2),
        };
        let told = links(page, 7);
        let address = "http://x/api/v3/y?per_page=2&state=all&page=";
        let expected = [("prev", 1), ("next", 3), ("last", 4), ("first", 1)]
            .map(|(rel, page)| format!("<{address}{page}>; rel=\"{rel}\""))
            .join(", ");
        assert_eq!(told, expected);
        assert_eq!(page.cut(&[1, 2, 3, 4, 5, 6, 7]), [3, 4]);
    }

    #[test]
    fn a_single_page_has_no_links_and_sizes_are_bounded() {
        let page = Page {
            page: None,
            per_page: Some(1_000),
        };
        assert_eq!(links(page, 100), "");
        assert_eq!(page.size(), 100);
        assert_eq!(Page::default().size(), 30);
        assert!(
            Page {
                page: Some(5),
                per_page: None
            }
            .cut(&[1, 2])
            .is_empty()
        );
    }
}
