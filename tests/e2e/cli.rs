//! The command line, for people and for programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use lockflight_tests::world::{REPOSITORY, put, remove};
use serde_json::Value;
use tempfile::TempDir;

use crate::policies::{CHAIN, LAB, LAB_AND_TOOLS};
use crate::{LOCKFLIGHT, world};

/// How a command ended, and what it wrote.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// Runs `lockflight` in a directory, with nothing of this process's environment but the path.
pub(crate) fn run(directory: &Path, arguments: &[&str]) -> Ended {
    let output = Command::new(LOCKFLIGHT)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
        .env("HOME", directory)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Every file of a directory with its bytes.
fn snapshot(directory: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.insert(path, bytes);
            }
        }
    }
    found
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_plan_is_what_the_forge_gets_then() {
    world(LAB_AND_TOOLS)
        .file("workspace/old/values.yaml", "old: true\n")
        .file("clusters/lab/old/values.yaml", "old: true\n")
        .run(async |world| {
            let edits = [
                put("workspace/checkout/values.yaml", "replicas: 3\n"),
                put("workspace/checkout/templates/service.yaml", "kind: Service\n"),
                remove("workspace/old"),
                put("tools/cleaner/values.yaml", "every: 1h\n"),
            ];
            let change = world.open_change(&edits).await;
            let before = world.forge.branch(REPOSITORY, "main").unwrap().unwrap();
            let merged_as = world.merge(change).await;
            let promotions: [_; 2] = world.promotions_of(change).await;

            let bare = world.forge.repository_dir(REPOSITORY).unwrap();
            let as_it_was = snapshot(&bare);
            let repo = bare.to_str().unwrap();
            let arguments = [
                "plan", "--repo", repo, "--base", &before, "--head", &merged_as, "-o", "json",
            ];
            let plan = run(&bare, &arguments).expect(0).json();
            assert_eq!(
                snapshot(&bare),
                as_it_was,
                "nothing was written to the repository"
            );

            assert_eq!(plan["apiVersion"], "lockflight/v1");
            let steps = plan["steps"].as_array().unwrap();
            assert_eq!(steps.len(), 2);
            let checkout = world.checkout("main").await;
            for step in steps {
                let title = step["title"].as_str().unwrap();
                let promotion = promotions
                    .iter()
                    .find(|promotion| promotion.title == title)
                    .unwrap();
                let tree = checkout
                    .git(&["rev-parse", &format!("origin/{}^{{tree}}", promotion.head.branch)])
                    .await;
                assert_eq!(step["tree"].as_str(), Some(tree.as_str()), "{title}");
                let mut paths: Vec<String> = world
                    .files_of(promotion.number)
                    .await
                    .into_iter()
                    .map(|(path, _)| path)
                    .collect();
                paths.sort();
                assert_eq!(texts(&step["paths"]), paths, "{title}");
                assert_eq!(step["autoMerge"], false);
            }
            let lab = steps.iter().find(|step| step["description"] == "Lab").unwrap();
            assert_eq!(lab["source"], "workspace");
            assert_eq!(texts(&lab["targets"]), ["clusters/lab"]);
            assert_eq!(texts(&lab["components"]), ["checkout", "old"]);
            let sync = lab["sync"].as_array().unwrap();
            let to: Vec<_> = sync
                .iter()
                .map(|sync| (sync["to"].as_str().unwrap(), sync.get("delete").is_some()))
                .collect();
            assert_eq!(to, [("clusters/lab/checkout", false), ("clusters/lab/old", true)]);
        })
        .await;
}

#[tokio::test]
async fn a_plan_heeds_labels_and_is_a_table_for_people() {
    let policy = LAB.replace(
        "promotionPrs:",
        "conditions:\n      prHasLabels: [quick]\n    promotionPrs:",
    );
    world(&policy)
        .run(async |world| {
            let number = world
                .open_change(&[put("workspace/checkout/values.yaml", "replicas: 3\n")])
                .await;
            world.merge(number).await;
            let checkout = world.checkout("main").await;
            let plan = |more: &[&str]| {
                run(checkout.path(), &[&["plan", "--base", "HEAD^1"], more].concat()).expect(0)
            };
            assert!(plan(&[]).stdout.contains("Nothing to promote"));
            let table = plan(&["--label", "other", "--label", "quick"]).stdout;
            assert!(table.contains("🚀 Promotion: checkout ➡️  Lab"), "{table}");
            assert!(
                table.contains("workspace/checkout -> clusters/lab/checkout"),
                "{table}"
            );
            world.until_status(number, "success").await;
        })
        .await;
}

#[tokio::test]
async fn a_plan_that_cannot_be_made_says_why() {
    world(LAB)
        .run(async |world| {
            let checkout = world.checkout("main").await;
            let plan = |base: &str| run(checkout.path(), &["plan", "--base", base]);
            let unknown = plan("no-such-branch").expect(5);
            assert!(unknown.stderr.contains("no-such-branch"), "{}", unknown.stderr);
            checkout.write("telefonistka.yaml", "promotionPaths:\n  - sourcePath: '('\n");
            checkout.commit_all("Break the policy").await;
            let broken = plan("HEAD^").expect(4);
            assert!(
                broken.stderr.contains("telefonistka.yaml:2:"),
                "{}",
                broken.stderr
            );
            assert!(broken.stdout.is_empty(), "{}", broken.stdout);
            checkout.git(&["rm", "--quiet", "telefonistka.yaml"]).await;
            checkout.commit_staged("Remove the policy").await;
            let none = plan("HEAD^").expect(5);
            assert!(none.stderr.contains("no telefonistka.yaml"), "{}", none.stderr);
        })
        .await;
    let empty = TempDir::new().unwrap();
    let no_repository = run(empty.path(), &["plan", "--base", "main"]).expect(5);
    assert!(
        no_repository.stderr.starts_with("error: "),
        "{}",
        no_repository.stderr
    );
}

const BROKEN: &str = "promotionPaths:\n  - sourcePath: \"workspace/(\"\n    promotionPrs:\n      - targetPaths: [\"clusters/lab/\"]\n";

#[test]
fn validate_tells_file_line_and_column() {
    let folder = TempDir::new().unwrap();
    let policy = folder.path().join("telefonistka.yaml");
    std::fs::write(&policy, CHAIN).unwrap();
    run(folder.path(), &["validate"]).expect(0);
    run(folder.path(), &["validate", "telefonistka.yaml"]).expect(0);

    std::fs::write(&policy, BROKEN).unwrap();
    let human = run(folder.path(), &["validate"]).expect(4);
    assert!(
        human.stdout.starts_with("telefonistka.yaml:2:17: "),
        "{}",
        human.stdout
    );

    let json = run(folder.path(), &["validate", "-o", "json"]).expect(4).json();
    assert_eq!(json["apiVersion"], "lockflight/v1");
    assert_eq!(json["valid"], false);
    let error = &json["errors"][0];
    assert_eq!(
        (&error["file"], &error["line"], &error["column"]),
        (&"telefonistka.yaml".into(), &2.into(), &17.into())
    );

    let github = run(folder.path(), &["validate", "-o", "github"]).expect(4);
    assert!(
        github
            .stdout
            .starts_with("::error file=telefonistka.yaml,line=2,col=17::"),
        "{}",
        github.stdout
    );
}

#[test]
fn validate_finds_the_files_of_components_too() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("telefonistka.yaml"), LAB).unwrap();
    let component = folder.path().join("workspace/checkout");
    std::fs::create_dir_all(&component).unwrap();
    std::fs::write(
        component.join("telefonistka.yaml"),
        "promotionTargetBlockList:\n  - '('\n",
    )
    .unwrap();
    let ended = run(folder.path(), &["validate"]).expect(4);
    assert!(
        ended.stdout.contains("workspace/checkout/telefonistka.yaml:2:"),
        "{}",
        ended.stdout
    );
}

#[test]
fn validate_tells_apart_what_is_missing() {
    let folder = TempDir::new().unwrap();
    run(folder.path(), &["validate"]).expect(5);
    let missing = run(folder.path(), &["validate", "nothing.yaml"]).expect(5);
    assert!(missing.stderr.contains("nothing.yaml"), "{}", missing.stderr);
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let folder = TempDir::new().unwrap();
    run(folder.path(), &["promote"]).expect(2);
    run(folder.path(), &["plan", "--output", "xml"]).expect(2);
    let help = run(folder.path(), &["--help"]).expect(0);
    for command in ["sandbox", "serve", "plan", "validate", "completions"] {
        assert!(help.stdout.contains(command), "{command}");
        run(folder.path(), &[command, "--help"]).expect(0);
    }
    let version = run(folder.path(), &["--version"]).expect(0);
    assert!(version.stdout.starts_with("lockflight "), "{}", version.stdout);
}

#[test]
fn every_shell_gets_its_completions() {
    let folder = TempDir::new().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(folder.path(), &["completions", shell]).expect(0).stdout;
        assert!(script.contains("validate"), "{shell}");
    }
    run(folder.path(), &["completions", "cmd"]).expect(2);
}

/// A folder with a configuration that can be used, but for what is added to it.
fn configured(more: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("token"), "ghp_a_token").unwrap();
    std::fs::write(folder.path().join("secret"), "a secret of some length").unwrap();
    let config = format!(
        "[github]\napi_url = \"http://127.0.0.1:9/api/v3\"\ntoken_file = \"token\"\n\n[webhook]\nsecret_file = \"secret\"\n{more}"
    );
    std::fs::write(folder.path().join("lockflight.toml"), config).unwrap();
    folder
}

const CHECK: [&str; 4] = ["serve", "--config", "lockflight.toml", "--check-config"];

#[test]
fn a_configuration_can_be_checked() {
    let folder = configured("");
    let ended = run(folder.path(), &CHECK).expect(0);
    assert!(ended.stdout.contains("can be used"), "{}", ended.stdout);
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "checking leaves nothing behind: {names:?}");
}

#[test]
fn the_hosts_that_a_policy_may_have_called_can_be_listed() {
    let listed = "\n[outbound]\nallowed_hosts = [\"http://prometheus:9090\", \"*.example.com\"]\nallow_private = [\"10.0.0.0/8\"]\n";
    let folder = configured(listed);
    run(folder.path(), &CHECK).expect(0);
    let more = [
        "--set",
        "outbound.allowed_hosts=status.example.com, http://[::1]:9090",
    ];
    run(folder.path(), &[CHECK.as_slice(), &more].concat()).expect(0);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_what_was_meant() {
    let folder = configured("pth = \"/hook\"\n");
    let ended = run(folder.path(), &CHECK).expect(1);
    assert!(
        ended.stderr.contains("lockflight.toml:7:1: webhook.pth"),
        "{}",
        ended.stderr
    );
    assert!(
        ended.stderr.contains("did you mean webhook.path?"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_configuration_that_cannot_work_says_what_to_do() {
    let cases: [(&str, &[&str], &str); 11] = [
        ("\n[github.approver]\n", &[], "token_file"),
        (
            "",
            &["--set", "github.api_url=http://github.example.com/api/v3"],
            "http",
        ),
        ("", &["--set", "github.token_file=nowhere"], "nowhere"),
        ("", &["--set", "http.listen=everywhere"], "http.listen"),
        ("\n[queue]\nfirst_retry = \"soon\"\n", &[], "queue.first_retry"),
        (
            "\n[outbound]\nallowed_hosts = [\"https://a.example/path\"]\n",
            &[],
            "a path can't be allowed by itself",
        ),
        (
            "\n[outbound]\nallow_private = [\"10.0.0.1/8\"]\n",
            &[],
            "bits set behind its length",
        ),
        ("\n[outbound]\ndeadline = \"2m\"\n", &[], "deadline"),
        (
            "\n[outbound]\nmax_response_bytes = 2000000\n",
            &[],
            "max_response_bytes",
        ),
        ("\n[outbound]\nca_file = \"nowhere.pem\"\n", &[], "nowhere.pem"),
        ("\n[outbound]\nca_file = \"token\"\n", &[], "certificates in PEM"),
    ];
    for (more, flags, word) in cases {
        let folder = configured(more);
        let ended = run(folder.path(), &[CHECK.as_slice(), flags].concat());
        assert_eq!(ended.code, 1, "{more} {flags:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(word), "{more} {flags:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("ghp_a_token"), "{}", ended.stderr);
    }
}

#[test]
fn a_fleet_that_cannot_work_is_refused_before_it_starts() {
    let servers = "\n[queue]\nurl_file = \"queue\"\n\n[locks]\nurl_file = \"locks\"\n";
    let check = |more: &str, flags: &[&str]| {
        let folder = configured(more);
        std::fs::write(folder.path().join("queue"), "amqp://127.0.0.1:9").unwrap();
        std::fs::write(folder.path().join("locks"), "redis://127.0.0.1:9").unwrap();
        let command = ["executor", "--config", "lockflight.toml"];
        run(folder.path(), &[command.as_slice(), flags].concat())
    };
    let fine = check(servers, &["--check-config"]);
    assert_eq!(fine.code, 0, "{}", fine.stderr);
    for (set, word) in [
        ("queue.prefix=a b", "prefix"),
        ("queue.partitions=0", "partitions"),
        ("locks.expiry=1s", "[locks]"),
        ("locks.heartbeat=1ms", "heartbeat"),
        ("workers.name=a b", "[workers] name"),
    ] {
        // Alike with --check-config and at a start, which ends by itself.
        for flags in [&["--set", set, "--check-config"][..], &["--set", set]] {
            let ended = check(servers, flags);
            assert_eq!(ended.code, 1, "{set}: {}", ended.stderr);
            assert!(ended.stderr.contains(word), "{set}: {}", ended.stderr);
        }
    }
}

#[test]
fn one_who_has_no_key_for_markers_is_refused_before_it_starts() {
    let folder = configured("");
    let path = folder.path().join("lockflight.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let (github, _webhook) = config.split_once("[webhook]").unwrap();
    std::fs::write(&path, github).unwrap();
    let planner = [
        "planner",
        "--config",
        "lockflight.toml",
        "--queue",
        "amqp://127.0.0.1:9",
    ];
    for flags in [&["--check-config"][..], &[]] {
        let ended = run(folder.path(), &[&planner, flags].concat()).expect(1);
        assert!(ended.stderr.contains("marker_secret_file"), "{}", ended.stderr);
    }
}

#[test]
fn a_secret_in_the_configuration_itself_is_refused_and_not_repeated() {
    let folder = configured("");
    let path = folder.path().join("lockflight.toml");
    let config = std::fs::read_to_string(&path)
        .unwrap()
        .replace("token_file = \"token\"", "token = \"ghp_in_the_open\"");
    std::fs::write(&path, config).unwrap();
    let ended = run(folder.path(), &CHECK).expect(1);
    assert!(ended.stderr.contains("token_file"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ghp_in_the_open"), "{}", ended.stderr);
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let folder = TempDir::new().unwrap();
    let ended = run(folder.path(), &CHECK).expect(1);
    assert!(ended.stderr.contains("lockflight.toml"), "{}", ended.stderr);
}

#[test]
fn serve_without_git_says_so() {
    let folder = configured("");
    let output = Command::new(LOCKFLIGHT)
        .args([
            "serve",
            "--config",
            "lockflight.toml",
            "--set",
            "http.listen=127.0.0.1:0",
        ])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("install git"), "{stderr}");
}
