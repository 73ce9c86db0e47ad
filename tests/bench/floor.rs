//! The same without Lockflight: git and REST as they are, from this process.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::command::{feed, run};
use crate::http::Client;
use crate::stage::Stage;
use crate::stats::millis;

/// A bare clone of a repository on the forge.
pub(crate) struct Checkout {
    repository: String,
    folder: PathBuf,
}

impl Checkout {
    pub(crate) async fn clone(stage: &Stage, repository: &str, name: &str) -> Self {
        let checkout = Self {
            repository: repository.to_owned(),
            folder: stage.fresh(name),
        };
        run(stage
            .git(&checkout.folder)
            .args(["init", "--quiet", "--bare", "--initial-branch=main"]))
        .await;
        checkout.fetch(stage).await;
        checkout
    }

    pub(crate) async fn fetch(&self, stage: &Stage) {
        run(stage
            .git(&self.folder)
            .args([
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-auto-maintenance",
                "--no-write-fetch-head",
            ])
            .arg(stage.forge.git_url(&self.repository))
            .arg("+refs/heads/main:refs/heads/main"))
        .await;
    }

    /// Makes branches, each with a commit on `main` that changes a file of its own. Nothing is pushed.
    pub(crate) async fn branches(&self, stage: &Stage, names: &[String]) {
        let mut stream = String::new();
        for name in names {
            let (message, content) = ("Promote", "image:\n  tag: 1.8.2\nreplicas: 3\n");
            stream.push_str(&format!(
                "commit refs/heads/{name}\ncommitter Bench <bench@example.com> 1767323045 +0000\ndata {}\n{message}\n\
                 from refs/heads/main^0\nM 100644 inline clusters/{name}/values.yaml\ndata {}\n{content}\n",
                message.len(),
                content.len()
            ));
        }
        feed(
            stage
                .git(&self.folder)
                .args(["fast-import", "--quiet", "--force"]),
            stream.as_bytes(),
        )
        .await;
    }

    pub(crate) async fn push(&self, stage: &Stage, names: &[String]) {
        run(stage
            .git(&self.folder)
            .args(["push", "--quiet", "--no-verify"])
            .arg(stage.forge.git_url(&self.repository))
            .args(
                names
                    .iter()
                    .map(|name| format!("refs/heads/{name}:refs/heads/{name}")),
            ))
        .await;
    }

    /// A fetch of what is new, and a push of one branch: the milliseconds of each that were not the forge's.
    pub(crate) async fn bare(&self, stage: &Stage, round: usize) -> (f64, f64) {
        let forge = &stage.forge;
        let of_forge = || {
            forge
                .requests()
                .iter()
                .map(|request| millis(request.took))
                .sum::<f64>()
        };
        let begin = Instant::now();
        self.fetch(stage).await;
        let fetched = millis(begin.elapsed()) - of_forge();
        let branch = [format!("bare/{round}")];
        self.branches(stage, &branch).await;
        forge.reset_usage();
        let begin = Instant::now();
        self.push(stage, &branch).await;
        let pushed = millis(begin.elapsed()) - of_forge();
        (fetched, pushed)
    }

    /// Makes pull requests of branches with the requests that an executor makes: one fetch and one push for all, then for each a look, the
    /// pull request, its label and its assignee.
    pub(crate) async fn promote(&self, stage: &Stage, client: &mut Rest, names: &[String]) {
        for name in names {
            let owner = self.repository.split('/').next().unwrap_or_default();
            let query = format!("pulls?head={owner}:{name}&state=all&per_page=100");
            client.ask(&self.repository, "GET", &query, None).await;
        }
        self.fetch(stage).await;
        self.push(stage, names).await;
        for name in names {
            let new = json!({"title": name, "body": "Promotion", "head": name, "base": "main"});
            let opened = client.ask(&self.repository, "POST", "pulls", Some(new)).await;
            let number = &opened["number"];
            let label = json!({"labels": ["promotion"]});
            client
                .ask(
                    &self.repository,
                    "POST",
                    &format!("issues/{number}/labels"),
                    Some(label),
                )
                .await;
            let assignee = json!({"assignees": ["mona"]});
            client
                .ask(
                    &self.repository,
                    "POST",
                    &format!("issues/{number}/assignees"),
                    Some(assignee),
                )
                .await;
        }
    }
}

/// The forge's REST API over one connection.
pub(crate) struct Rest {
    client: Client,
    token: String,
}

impl Rest {
    pub(crate) async fn connect(stage: &Stage) -> Self {
        let url = stage.forge.url();
        let address = url.trim_start_matches("http://").parse();
        Self {
            client: Client::connect(address.expect("the forge has an address")).await,
            token: format!("Bearer {}", stage.token),
        }
    }

    async fn ask(&mut self, repository: &str, method: &str, path: &str, body: Option<Value>) -> Value {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v3/repos/{repository}/{path}"))
            .header(header::AUTHORIZATION, &self.token)
            .header(header::USER_AGENT, "bench")
            .header(header::ACCEPT, "application/vnd.github+json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body));
        let (status, answer) = self.client.send(request.expect("these are headers")).await;
        let said = String::from_utf8_lossy(&answer);
        assert!((200..300).contains(&status), "{method} {path}: {status} {said}");
        serde_json::from_slice(&answer).expect("the forge answers in JSON")
    }
}
