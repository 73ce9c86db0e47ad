//! A forge with one repository, one App and two people, behind the validating proxy.

use lockflight_sandbox::{App, AppOptions, Forge, ForgeOptions, HookTarget};
use lockflight_tests::client::Client;
use lockflight_tests::hooks::HookReceiver;
use lockflight_tests::proxy::ValidatingProxy;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The repository that every story is about.
pub(crate) const REPOSITORY: &str = "acme/gitops";

/// Everything that a story needs. [`World::finish`] fails it if GitHub's description was broken.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) forge: Forge,
    pub(crate) proxy: ValidatingProxy,
    /// Gets what the App is sent.
    pub(crate) app_hooks: HookReceiver,
    /// Gets what the repository's own webhook is sent.
    pub(crate) repository_hooks: HookReceiver,
    /// Asks REST without credentials.
    pub(crate) client: Client,
    /// Asks REST as the person who writes.
    pub(crate) mona: Client,
    pub(crate) mona_token: String,
    /// The same person, with paths from the root: for GraphQL.
    pub(crate) mona_at_root: Client,
    /// Asks REST as the person who reviews.
    pub(crate) hubot: Client,
    app: App,
    installation: u64,
    repository_hook: u64,
    data: TempDir,
}

/// Returns the `sha` of an object in an answer.
#[track_caller]
pub(crate) fn sha_of(value: &Value) -> String {
    value["sha"]
        .as_str()
        .unwrap_or_else(|| panic!("no sha in {value}"))
        .to_owned()
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ForgeOptions)) -> Self {
        let data = TempDir::new().unwrap();
        let mut options = ForgeOptions::new(data.path());
        change(&mut options);
        let forge = Forge::start(options).await.unwrap();
        let files: [(&str, Option<&[u8]>); 4] = [
            ("README.md", Some(b"A fleet.\n")),
            ("workspace/app/values.yaml", Some(b"replicas: 2\n")),
            ("workspace/app/templates/service.yaml", Some(b"kind: Service\n")),
            ("clusters/lab/app/values.yaml", Some(b"replicas: 2\n")),
        ];
        forge.create_repository(REPOSITORY, "main").await.unwrap();
        forge
            .commit_files(REPOSITORY, "main", &files, "Begin")
            .await
            .unwrap();
        let mona_token = forge.personal_token("mona").unwrap();
        let hubot_token = forge.personal_token("hubot").unwrap();
        let app = forge.add_app(AppOptions::new("lockflight")).await.unwrap();
        let installation = forge.install(app.id, &[REPOSITORY]).unwrap();

        let app_hooks = HookReceiver::start(&app.webhook_secret).await;
        let repository_hooks = HookReceiver::start("the repository's secret").await;
        forge
            .set_webhook(HookTarget::App(app.id), &app_hooks.url(), &app.webhook_secret)
            .unwrap();
        let repository_hook = forge
            .set_webhook(REPOSITORY, &repository_hooks.url(), "the repository's secret")
            .unwrap();
        for receiver in [&app_hooks, &repository_hooks] {
            receiver.wait_for("ping", |_| true).await;
        }

        let proxy = ValidatingProxy::start(&forge.url()).await;
        let client = Client::new(proxy.address(), "/api/v3");
        Self {
            mona: client.bearer(&mona_token),
            mona_at_root: Client::new(proxy.address(), "").bearer(&mona_token),
            hubot: client.bearer(&hubot_token),
            client,
            mona_token,
            forge,
            proxy,
            app_hooks,
            repository_hooks,
            app,
            installation,
            repository_hook,
            data,
        }
    }

    /// Returns the path of the repository in the API.
    pub(crate) fn repo(&self) -> String {
        format!("/repos/{REPOSITORY}")
    }

    pub(crate) fn repository_hook(&self) -> u64 {
        self.repository_hook
    }

    pub(crate) fn app_id(&self) -> u64 {
        self.app.id
    }

    pub(crate) fn app_key(&self) -> &str {
        &self.app.private_key_pem
    }

    /// Returns a client that asks as the App itself, by its key.
    pub(crate) fn app_client(&self) -> Client {
        let key = jsonwebtoken::EncodingKey::from_rsa_pem(self.app.private_key_pem.as_bytes()).unwrap();
        let jwt = octocrab::auth::create_jwt(octocrab::models::AppId(self.app.id), &key).unwrap();
        self.client.bearer(&jwt)
    }

    /// Returns a client that asks as the App's installation, with all that it may do.
    pub(crate) async fn installation_client(&self) -> Client {
        let path = format!("/app/installations/{}/access_tokens", self.installation);
        let token = self.app_client().post(&path, &json!({})).await.expect(201);
        self.client.bearer(token["token"].as_str().unwrap())
    }

    /// Puts a commit with these files on a branch, which is made from `main` where it is missing. No text deletes.
    pub(crate) async fn push(&self, branch: &str, files: &[(&str, Option<&str>)]) -> String {
        let repo = self.repo();
        let here = self.mona.get(&format!("{repo}/git/ref/heads/{branch}")).await;
        let is_there = here.status == 200;
        let parent = if is_there {
            sha_of(&here.expect(200)["object"])
        } else {
            sha_of(
                &self
                    .mona
                    .get(&format!("{repo}/git/ref/heads/main"))
                    .await
                    .expect(200)["object"],
            )
        };
        let commit = self
            .mona
            .get(&format!("{repo}/git/commits/{parent}"))
            .await
            .expect(200);
        let entries: Vec<Value> = files
            .iter()
            .map(|(path, text)| match text {
                Some(text) => json!({"path": path, "mode": "100644", "type": "blob", "content": text}),
                None => json!({"path": path, "mode": "100644", "type": "blob", "sha": null}),
            })
            .collect();
        let tree = json!({"base_tree": sha_of(&commit["tree"]), "tree": entries});
        let tree = sha_of(
            &self
                .mona
                .post(&format!("{repo}/git/trees"), &tree)
                .await
                .expect(201),
        );
        let commit = json!({"message": format!("Change {branch}"), "tree": tree, "parents": [parent]});
        let commit = sha_of(
            &self
                .mona
                .post(&format!("{repo}/git/commits"), &commit)
                .await
                .expect(201),
        );
        if is_there {
            let moved = self
                .mona
                .patch(
                    &format!("{repo}/git/refs/heads/{branch}"),
                    &json!({ "sha": commit }),
                )
                .await;
            moved.expect(200);
        } else {
            let made = json!({"ref": format!("refs/heads/{branch}"), "sha": commit});
            self.mona
                .post(&format!("{repo}/git/refs"), &made)
                .await
                .expect(201);
        }
        commit
    }

    /// Puts a commit on a branch and opens a pull request from it to `main`.
    pub(crate) async fn open_pull_request(&self, branch: &str, files: &[(&str, Option<&str>)]) -> u64 {
        self.push(branch, files).await;
        let wanted = json!({"title": format!("About {branch}"), "head": branch, "base": "main"});
        let made = self
            .mona
            .post(&format!("{}/pulls", self.repo()), &wanted)
            .await
            .expect(201);
        made["number"].as_u64().unwrap()
    }

    /// Ends everything, and fails the test if a call or a webhook broke GitHub's description.
    pub(crate) async fn finish(self) {
        self.forge.webhooks_idle().await;
        self.proxy.finish();
        drop((self.app_hooks, self.repository_hooks));
        self.forge.shutdown().await;
        drop(self.data);
    }
}
