//! A Markdown text that never outgrows its limit, and says so when something had to go.

/// A Markdown text with a limit in bytes. What does not fit is left out from there on; the end of the text stays.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    limit: usize,
    cut: String,
    end: &'static str,
    full: bool,
}

impl Page {
    /// An empty text of at most `limit` bytes that ends with `end`, and before it with the sentence `cut` if anything
    /// was left out.
    pub(super) fn new(limit: usize, cut: &str, end: &'static str) -> Self {
        Self {
            text: String::new(),
            limit,
            cut: format!("{cut}\n"),
            end,
            full: false,
        }
    }

    fn fits(&self, more: usize) -> bool {
        !self.full && self.text.len() + more + self.cut.len() + self.end.len() + 2 <= self.limit
    }

    /// Adds a block whole, with an empty line after it.
    pub(super) fn block(&mut self, block: &str) {
        self.rows("", [block.to_owned()], "");
    }

    /// Adds `open`, as many rows as fit, and `close`, with an empty line after it. Each row gets a line end. If not even one row
    /// fits, nothing is added.
    pub(super) fn rows(&mut self, open: &str, rows: impl IntoIterator<Item = String>, close: &str) {
        let before = self.text.len();
        let mut any = false;
        self.text.push_str(open);
        for row in rows {
            if !self.fits(row.len() + close.len() + 2) {
                self.full = true;
                break;
            }
            self.text.push_str(&row);
            if !row.ends_with('\n') {
                self.text.push('\n');
            }
            any = true;
        }
        if any {
            self.text.push_str(close);
            self.text.push('\n');
        } else {
            self.text.truncate(before);
        }
    }

    /// Bytes that still fit.
    pub(super) fn room(&self) -> usize {
        if self.full {
            0
        } else {
            self.limit
                .saturating_sub(self.text.len() + self.cut.len() + self.end.len() + 8)
        }
    }

    /// Leaves out everything from here on.
    pub(super) const fn stop(&mut self) {
        self.full = true;
    }

    /// The whole text, with one line end at its end.
    pub(super) fn finish(mut self) -> String {
        if self.full {
            self.text.push_str(&self.cut);
            if !self.end.is_empty() {
                self.text.push('\n');
            }
        }
        self.text.push_str(self.end);
        let end = self.text.trim_end().len();
        self.text.truncate(end);
        self.text.push('\n');
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_its_limit_its_cut_and_its_end() {
        let rows = |count: usize| (0..count).map(|n| format!("row {n}"));
        for limit in 30..200 {
            let mut page = Page::new(limit, "Cut.", "<end>");
            page.rows("<o>\n", rows(40), "</o>\n");
            page.block("more");
            let text = page.finish();
            assert!(text.len() <= limit, "{limit}: {text}");
            assert!(text.ends_with("Cut.\n\n<end>\n"), "{text}");
            assert_eq!(
                text.matches("<o>").count(),
                text.matches("</o>").count(),
                "{text}"
            );
        }
        let mut page = Page::new(200, "Cut.", "<end>");
        page.rows("<o>\n", rows(2), "</o>\n");
        page.block("more");
        assert_eq!(page.finish(), "<o>\nrow 0\nrow 1\n</o>\n\nmore\n\n<end>\n");
    }
}
