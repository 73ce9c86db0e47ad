//! Where the fixtures are, and what they hold.

use std::path::PathBuf;

/// Returns the folder `tests/fixtures`.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// A webhook payload as GitHub documents it by example.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The name of the file, for messages.
    pub file: String,
    /// The value of `X-GitHub-Event`.
    pub event: String,
    /// The bytes of the body.
    pub body: Vec<u8>,
}

/// Returns every example payload of the corpus, sorted by file name.
pub fn webhook_corpus() -> Vec<Payload> {
    payloads("webhooks")
}

/// Returns the payloads that were written by hand, because GitHub's examples lack them.
///
/// `pull_request.closed.merged.json` is the one that everything begins with.
pub fn handmade_webhooks() -> Vec<Payload> {
    payloads("handmade")
}

fn payloads(folder_name: &str) -> Vec<Payload> {
    let folder = folder().join(folder_name);
    let mut found: Vec<Payload> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()))
        .map(|entry| {
            let path = entry.expect("a folder that was opened can be read").path();
            let file = path
                .file_name()
                .and_then(|name| name.to_str())
                .expect("fixtures have plain names")
                .to_owned();
            let event = file
                .split('.')
                .next()
                .expect("split yields at least one part")
                .to_owned();
            let body = std::fs::read(&path)
                .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
            Payload { file, event, body }
        })
        .collect();
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}
