//! Pages, and the caps of GitHub's lists.

use std::fmt::Write as _;

use lockflight_sandbox::Limits;
use serde_json::{Value, json};

use crate::world::World;

fn count(list: &Value) -> usize {
    list.as_array().unwrap().len()
}

#[tokio::test]
async fn a_list_has_thirty_entries_a_page_and_at_most_a_hundred() {
    let world = World::start().await;
    let files: Vec<(String, String)> = (0..130)
        .map(|number| {
            (
                format!("workspace/many/{number:03}.yaml"),
                format!("n: {number}\n"),
            )
        })
        .collect();
    let files: Vec<(&str, Option<&str>)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), Some(text.as_str())))
        .collect();
    let number = world.open_pull_request("many", &files).await;
    let list = format!("{}/pulls/{number}/files", world.repo());

    let first = world.mona.get(&list).await;
    assert_eq!(count(&first.expect(200)), 30);
    assert!(first.link("last").unwrap().contains("page=5"));
    assert!(first.link("prev").is_none());
    assert_eq!(
        count(&world.mona.get(&format!("{list}?per_page=1000")).await.expect(200)),
        100
    );

    let mut seen = 0;
    let mut next = Some(format!("{}{list}?per_page=50", world.proxy.api_url()));
    while let Some(url) = next {
        // A client that follows the link has to come to the proxy again, not to the forge behind it.
        let path = url
            .strip_prefix(&world.proxy.api_url())
            .unwrap_or_else(|| panic!("{url} leads around the proxy"));
        let page = world.mona.get(path).await;
        seen += count(&page.expect(200));
        next = page.link("next");
    }
    assert_eq!(seen, 130);
    assert_eq!(
        count(&world.mona.get(&format!("{list}?page=99")).await.expect(200)),
        0
    );
    world.finish().await;
}

#[tokio::test]
async fn the_files_of_a_pull_request_a_comparison_and_a_folder_are_capped() {
    let limits = Limits {
        pull_request_files: 12,
        compare_files: 5,
        directory_entries: 7,
        tree_entries: 10,
        ..Limits::default()
    };
    let world = World::start_with(|options| options.limits = limits).await;
    let files: Vec<String> = (0..20)
        .map(|number| format!("workspace/many/{number:02}.yaml"))
        .collect();
    let files: Vec<(&str, Option<&str>)> = files.iter().map(|path| (path.as_str(), Some("x: 1\n"))).collect();
    let number = world.open_pull_request("capped", &files).await;
    let (mona, repo) = (&world.mona, world.repo());
    let pull = mona.get(&format!("{repo}/pulls/{number}")).await.expect(200);
    assert_eq!(
        pull["changed_files"], 20,
        "the number is right even where the list is not"
    );
    assert_eq!(
        count(
            &mona
                .get(&format!("{repo}/pulls/{number}/files?per_page=100"))
                .await
                .expect(200)
        ),
        12
    );
    let compared = mona
        .get(&format!("{repo}/compare/main...capped"))
        .await
        .expect(200);
    assert_eq!(count(&compared["files"]), 5);
    assert_eq!(
        count(
            &mona
                .get(&format!("{repo}/contents/workspace/many?ref=capped"))
                .await
                .expect(200)
        ),
        7
    );
    let tree = mona
        .get(&format!("{repo}/git/trees/capped?recursive=1"))
        .await
        .expect(200);
    assert_eq!(tree["truncated"], true);
    world.finish().await;
}

#[tokio::test]
async fn a_comment_is_counted_in_characters_not_in_bytes() {
    let world = World::start().await;
    let number = world
        .open_pull_request("text", &[("workspace/app/values.yaml", Some("replicas: 2\n"))])
        .await;
    let comments = format!("{}/issues/{number}/comments", world.repo());
    let umlauts = "ä".repeat(65_536);
    world
        .mona
        .post(&comments, &json!({ "body": umlauts }))
        .await
        .expect(201);
    world
        .mona
        .post(&comments, &json!({ "body": format!("{umlauts}ä") }))
        .await
        .expect(422);

    let mut body = String::new();
    for number in 0..35 {
        write!(body, "{number} ").unwrap();
        world
            .mona
            .post(&comments, &json!({ "body": body }))
            .await
            .expect(201);
    }
    assert_eq!(count(&world.mona.get(&comments).await.expect(200)), 30);
    assert_eq!(
        count(&world.mona.get(&format!("{comments}?page=2")).await.expect(200)),
        6
    );
    world.finish().await;
}

#[tokio::test]
async fn every_kind_of_change_to_a_file_is_listed() {
    let world = World::start().await;
    let changes = [
        ("README.md", None),
        ("workspace/app/values.yaml", Some("replicas: 12\n")),
        ("workspace/app/with space and ü.yaml", Some("new: true\n")),
    ];
    let number = world.open_pull_request("kinds", &changes).await;
    let files = world
        .mona
        .get(&format!("{}/pulls/{number}/files", world.repo()))
        .await
        .expect(200);
    let found: Vec<(&Value, &Value)> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (&file["filename"], &file["status"]))
        .collect();
    let wanted = [
        (json!("README.md"), json!("removed")),
        (json!("workspace/app/values.yaml"), json!("modified")),
        (json!("workspace/app/with space and ü.yaml"), json!("added")),
    ];
    assert_eq!(
        found,
        wanted
            .iter()
            .map(|(name, status)| (name, status))
            .collect::<Vec<_>>()
    );
    world.finish().await;
}
