//! One change from a blob to a merge, and back into the logs of an App, over every operation of the description.

use lockflight_tests::openapi::Validator;
use serde_json::{Value, json};

use crate::world::{World, sha_of};

#[tokio::test]
async fn every_operation_answers_as_github_documents() {
    let world = World::start().await;
    git_data(&world).await;
    contents(&world).await;
    let number = open_pull_request(&world).await;
    conversation(&world, number).await;
    reviews(&world, number).await;
    statuses_and_checks(&world, number).await;
    teams(&world).await;
    merge(&world, number).await;
    app(&world).await;
    deliveries(&world).await;

    let asked = world.proxy.operations();
    let missing: Vec<&str> = Validator::github()
        .operations()
        .into_iter()
        .filter(|name| !asked.iter().any(|asked| asked == name))
        .collect();
    assert!(missing.is_empty(), "the tour did not ask: {missing:#?}");
    world.finish().await;
}

/// Writes a branch `change` with two commits by the database of objects alone.
async fn git_data(world: &World) {
    let (mona, repo) = (&world.mona, world.repo());
    mona.get("/rate_limit").await.expect(200);
    assert_eq!(mona.get("/user").await.expect(200)["login"], "mona");
    let found = mona.get(&repo).await.expect(200);
    assert_eq!(found["full_name"], "acme/gitops");
    assert_eq!(found["default_branch"], "main");

    let main = mona.get(&format!("{repo}/git/ref/heads/main")).await.expect(200);
    let main = sha_of(&main["object"]);
    let commit = mona.get(&format!("{repo}/git/commits/{main}")).await.expect(200);
    let base_tree = sha_of(&commit["tree"]);
    let tree = mona
        .get(&format!("{repo}/git/trees/{base_tree}?recursive=1"))
        .await
        .expect(200);
    assert_eq!(tree["truncated"], false);
    assert!(
        tree["tree"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["path"] == "workspace/app/values.yaml")
    );

    let blob = json!({"content": "replicas: 3\n", "encoding": "utf-8"});
    let blob = sha_of(&mona.post(&format!("{repo}/git/blobs"), &blob).await.expect(201));
    // What `printf 'replicas: 3\n' | git hash-object --stdin` says.
    assert_eq!(blob, "71ffd9f273f08d3bc7dde7ec46a5a103ed52feb6");
    let read = mona.get(&format!("{repo}/git/blobs/{blob}")).await.expect(200);
    assert_eq!(read["size"], 12);

    let mut parent = main;
    let mut last_tree = base_tree;
    for (path, content) in [
        ("workspace/app/values.yaml", json!(blob)),
        ("workspace/app/new file.yaml", json!(blob)),
    ] {
        let tree = json!({"base_tree": last_tree, "tree": [{"path": path, "mode": "100644", "type": "blob", "sha": content}]});
        last_tree = sha_of(&mona.post(&format!("{repo}/git/trees"), &tree).await.expect(201));
        let commit = json!({"message": format!("Change {path}"), "tree": last_tree, "parents": [parent]});
        parent = sha_of(
            &mona
                .post(&format!("{repo}/git/commits"), &commit)
                .await
                .expect(201),
        );
    }
    let first = mona
        .get(&format!("{repo}/git/commits/{parent}"))
        .await
        .expect(200);
    let first = sha_of(&first["parents"][0]);

    let made = mona
        .post(
            &format!("{repo}/git/refs"),
            &json!({"ref": "refs/heads/change", "sha": first}),
        )
        .await;
    made.expect(201);
    let again = mona
        .post(
            &format!("{repo}/git/refs"),
            &json!({"ref": "refs/heads/change", "sha": first}),
        )
        .await;
    assert_eq!(again.expect(422)["message"], "Reference already exists");
    let moved = mona
        .patch(
            &format!("{repo}/git/refs/heads/change"),
            &json!({"sha": parent, "force": false}),
        )
        .await;
    assert_eq!(sha_of(&moved.expect(200)["object"]), parent);
    let back = mona
        .patch(
            &format!("{repo}/git/refs/heads/change"),
            &json!({"sha": first, "force": false}),
        )
        .await;
    assert_eq!(back.expect(422)["message"], "Update is not a fast forward");

    let found = mona
        .get(&format!("{repo}/git/matching-refs/heads/ch"))
        .await
        .expect(200);
    assert_eq!(found.as_array().unwrap().len(), 1);
    let found = mona
        .get(&format!("{repo}/git/matching-refs/heads/nothing"))
        .await
        .expect(200);
    assert_eq!(found, json!([]));
    mona.get(&format!("{repo}/git/ref/heads/nothing"))
        .await
        .expect(404);

    let branch = mona.get(&format!("{repo}/branches/change")).await.expect(200);
    assert_eq!(sha_of(&branch["commit"]), parent);
    mona.get(&format!("{repo}/branches/nothing")).await.expect(404);
    mona.get(&format!("{repo}/branches/main/protection"))
        .await
        .expect(404);

    let commit = mona.get(&format!("{repo}/commits/change")).await.expect(200);
    assert_eq!(commit["files"][0]["filename"], "workspace/app/new file.yaml");
    let compared = mona
        .get(&format!("{repo}/compare/main...change"))
        .await
        .expect(200);
    assert_eq!(
        (&compared["status"], &compared["ahead_by"]),
        (&json!("ahead"), &json!(2))
    );
}

async fn contents(world: &World) {
    let (mona, repo) = (&world.mona, world.repo());
    let file = mona
        .get(&format!("{repo}/contents/workspace/app/values.yaml?ref=change"))
        .await
        .expect(200);
    assert_eq!((&file["type"], &file["size"]), (&json!("file"), &json!(12)));
    let spaced = mona
        .get(&format!(
            "{repo}/contents/workspace/app/new%20file.yaml?ref=change"
        ))
        .await
        .expect(200);
    assert_eq!(spaced["name"], "new file.yaml");
    let folder = mona
        .get(&format!("{repo}/contents/workspace/app"))
        .await
        .expect(200);
    assert_eq!(
        (&folder[0]["name"], &folder[1]["name"]),
        (&json!("templates"), &json!("values.yaml"))
    );
    let top = mona.get(&format!("{repo}/contents/")).await.expect(200);
    assert!(
        top.as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["type"] == "dir" && entry["name"] == "workspace")
    );
    mona.get(&format!("{repo}/contents/nothing")).await.expect(404);
    mona.get(&format!("{repo}/contents/README.md?ref=nothing"))
        .await
        .expect(404);
    let raw = mona.accepting("application/vnd.github.raw+json");
    let raw = raw
        .get(&format!("{repo}/contents/workspace/app/values.yaml?ref=change"))
        .await;
    assert_eq!(raw.text(), "replicas: 3\n");
}

async fn open_pull_request(world: &World) -> u64 {
    let (mona, repo) = (&world.mona, world.repo());
    let wanted =
        json!({"title": "Three replicas", "head": "change", "base": "main", "body": "For the weekend."});
    let made = mona.post(&format!("{repo}/pulls"), &wanted).await.expect(201);
    let number = made["number"].as_u64().unwrap();
    assert_eq!(
        (&made["state"], &made["merged"], &made["changed_files"]),
        (&json!("open"), &json!(false), &json!(2))
    );

    let twice = mona.post(&format!("{repo}/pulls"), &wanted).await.expect(422);
    assert_eq!(twice["message"], "Validation Failed");
    assert!(
        twice["errors"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("A pull request already exists"),
        "{twice}"
    );
    let none = json!({"title": "Nothing", "head": "main", "base": "main"});
    mona.post(&format!("{repo}/pulls"), &none).await.expect(422);

    let listed = mona
        .get(&format!(
            "{repo}/pulls?state=open&head=acme:change&base=main&per_page=100"
        ))
        .await
        .expect(200);
    assert_eq!(listed[0]["number"], number);
    let other = mona
        .get(&format!("{repo}/pulls?state=all&head=acme:other"))
        .await
        .expect(200);
    assert_eq!(other, json!([]));
    let read = mona.get(&format!("{repo}/pulls/{number}")).await.expect(200);
    assert_eq!(read["mergeable"], true);
    mona.get(&format!("{repo}/pulls/9999")).await.expect(404);

    let changed = mona
        .patch(
            &format!("{repo}/pulls/{number}"),
            &json!({"title": "Three replicas, always"}),
        )
        .await;
    assert_eq!(changed.expect(200)["title"], "Three replicas, always");
    let closed = mona
        .patch(&format!("{repo}/pulls/{number}"), &json!({"state": "closed"}))
        .await
        .expect(200);
    assert_eq!(closed["state"], "closed");
    let opened = mona
        .patch(&format!("{repo}/pulls/{number}"), &json!({"state": "open"}))
        .await
        .expect(200);
    assert_eq!(opened["state"], "open");

    let files = mona
        .get(&format!("{repo}/pulls/{number}/files?per_page=100"))
        .await
        .expect(200);
    let names: Vec<&Value> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|file| &file["filename"])
        .collect();
    assert_eq!(
        names,
        ["workspace/app/new file.yaml", "workspace/app/values.yaml"]
    );
    let commits = mona
        .get(&format!("{repo}/pulls/{number}/commits"))
        .await
        .expect(200);
    assert_eq!(commits.as_array().unwrap().len(), 2);
    number
}

async fn conversation(world: &World, number: u64) {
    let (mona, repo) = (&world.mona, world.repo());
    let label = json!({"name": "promotion", "color": "0e8a16", "description": "Made by a machine"});
    mona.post(&format!("{repo}/labels"), &label).await.expect(201);
    mona.post(&format!("{repo}/labels"), &label).await.expect(422);
    let put = mona
        .post(
            &format!("{repo}/issues/{number}/labels"),
            &json!({"labels": ["promotion", "lab 1/2"]}),
        )
        .await;
    assert_eq!(put.expect(200).as_array().unwrap().len(), 2);
    let left = mona
        .delete(&format!("{repo}/issues/{number}/labels/lab%201%2F2"))
        .await
        .expect(200);
    assert_eq!(left[0]["name"], "promotion");
    mona.delete(&format!("{repo}/issues/{number}/labels/nothing"))
        .await
        .expect(404);

    let assigned = mona
        .post(
            &format!("{repo}/issues/{number}/assignees"),
            &json!({"assignees": ["hubot"]}),
        )
        .await;
    assert_eq!(assigned.expect(201)["assignees"][0]["login"], "hubot");

    let comments = format!("{repo}/issues/{number}/comments");
    let comment = mona.post(&comments, &json!({"body": "First"})).await.expect(201);
    let id = comment["id"].as_u64().unwrap();
    let edited = mona
        .patch(
            &format!("{repo}/issues/comments/{id}"),
            &json!({"body": "Second"}),
        )
        .await;
    assert_eq!(edited.expect(200)["body"], "Second");
    let listed = mona.get(&format!("{comments}?per_page=100")).await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    mona.post(&comments, &json!({"body": "x".repeat(65_536)}))
        .await
        .expect(201);
    mona.post(&comments, &json!({"body": "x".repeat(65_537)}))
        .await
        .expect(422);
    mona.post(&comments, &json!({"body": ""})).await.expect(422);

    let one = format!("{repo}/issues/comments/{id}");
    assert_eq!(mona.get(&one).await.expect(200)["body"], "Second");
    mona.get(&format!("{repo}/issues/comments/1")).await.expect(404);
    let reactions = format!("{one}/reactions");
    let eyes = json!({"content": "eyes"});
    mona.post(&reactions, &eyes).await.expect(201);
    mona.post(&reactions, &eyes).await.expect(200);
    let listed = mona.get(&reactions).await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(mona.get(&one).await.expect(200)["reactions"]["eyes"], 1);

    let role = |login: &str| format!("{repo}/collaborators/{login}/permission");
    let hubot = mona.get(&role("hubot")).await.expect(200);
    assert_eq!(
        (&hubot["permission"], &hubot["user"]["login"]),
        (&json!("write"), &json!("hubot"))
    );
    mona.get(&role("nobody-at-all")).await.expect(404);

    let query = "mutation($id: ID!) { minimizeComment(input: {subjectId: $id, classifier: OUTDATED}) \
                 { minimizedComment { isMinimized minimizedReason } } }";
    let asked = json!({"query": query, "variables": {"id": comment["node_id"]}});
    let minimized = world.mona_at_root.post("/api/graphql", &asked).await.expect(200);
    assert_eq!(
        minimized.pointer("/data/minimizeComment/minimizedComment/isMinimized"),
        Some(&json!(true)),
        "{minimized}"
    );
    let unknown = json!({"query": query, "variables": {"id": "IC_nothing"}});
    let refused = world
        .mona_at_root
        .post("/api/graphql", &unknown)
        .await
        .expect(200);
    assert!(refused["errors"].is_array(), "{refused}");
}

async fn reviews(world: &World, number: u64) {
    let (mona, hubot, repo) = (&world.mona, &world.hubot, world.repo());
    let pull = format!("{repo}/pulls/{number}");
    let asked = mona
        .post(
            &format!("{pull}/requested_reviewers"),
            &json!({"reviewers": ["hubot"]}),
        )
        .await;
    assert_eq!(asked.expect(201)["requested_reviewers"][0]["login"], "hubot");
    mona.post(&format!("{pull}/reviews"), &json!({"event": "APPROVE"}))
        .await
        .expect(422);
    let review = hubot
        .post(
            &format!("{pull}/reviews"),
            &json!({"event": "APPROVE", "body": "Good"}),
        )
        .await;
    assert_eq!(review.expect(200)["state"], "APPROVED");
    hubot
        .post(
            &format!("{pull}/reviews"),
            &json!({"event": "COMMENT", "body": "And more"}),
        )
        .await
        .expect(200);
    let listed = mona.get(&format!("{pull}/reviews")).await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

async fn statuses_and_checks(world: &World, number: u64) {
    let (mona, repo) = (&world.mona, world.repo());
    let head = mona.get(&format!("{repo}/pulls/{number}")).await.expect(200);
    let head = sha_of(&head["head"]);
    let status = |state: &str| json!({"state": state, "context": "lockflight", "description": "One sentence.", "target_url": "http://127.0.0.1/x"});
    mona.post(&format!("{repo}/statuses/{head}"), &status("pending"))
        .await
        .expect(201);
    mona.post(&format!("{repo}/statuses/{head}"), &status("success"))
        .await
        .expect(201);
    let too_long = json!({"state": "success", "context": "lockflight", "description": "x".repeat(141)});
    mona.post(&format!("{repo}/statuses/{head}"), &too_long)
        .await
        .expect(422);
    let combined = mona
        .get(&format!("{repo}/commits/{head}/status"))
        .await
        .expect(200);
    assert_eq!(
        (&combined["state"], &combined["total_count"]),
        (&json!("success"), &json!(1))
    );
    let by_branch = mona
        .get(&format!("{repo}/commits/change/status"))
        .await
        .expect(200);
    assert_eq!(by_branch["sha"], json!(head));

    // Check runs are for Apps alone.
    let app = world.installation_client().await;
    let run = json!({"name": "plan", "head_sha": head, "status": "in_progress", "output": {"title": "Plan", "summary": "Two steps"}});
    let run = app.post(&format!("{repo}/check-runs"), &run).await.expect(201);
    let done = json!({"status": "completed", "conclusion": "success"});
    let done = app
        .patch(&format!("{repo}/check-runs/{}", run["id"]), &done)
        .await
        .expect(200);
    assert_eq!(done["conclusion"], "success");
    let listed = mona
        .get(&format!("{repo}/commits/{head}/check-runs"))
        .await
        .expect(200);
    assert_eq!(listed["total_count"], 1);

    let remark = |line: u32| json!({"path": "workspace/app/values.yaml", "start_line": line, "end_line": line, "annotation_level": "notice", "message": "Three?"});
    let output = |count: u32| json!({"output": {"title": "Plan", "summary": "Two steps", "annotations": (1..=count).map(remark).collect::<Vec<_>>()}});
    let own = format!("{repo}/check-runs/{}", run["id"]);
    app.patch(&own, &output(2)).await.expect(200);
    app.patch(&own, &output(1)).await.expect(200);
    let remarks = app.get(&format!("{own}/annotations?per_page=2")).await;
    assert_eq!(remarks.expect(200).as_array().unwrap().len(), 2);
    assert!(remarks.link("next").is_some(), "each update adds its own");
}

/// Reads a team as who may, and as who may not.
async fn teams(world: &World) {
    world.forge.set_team("acme", "platform", &["mona", "hubot"]);
    let path = "/orgs/acme/teams/platform/members";
    let members = world.mona.get(path).await.expect(200);
    assert_eq!(members[1]["login"], "hubot");
    world.installation_client().await.get(path).await.expect(200);
    world.app_client().get(path).await.expect(403);
    world
        .mona
        .get("/orgs/acme/teams/nobody/members")
        .await
        .expect(404);
}

async fn merge(world: &World, number: u64) {
    let (mona, repo) = (&world.mona, world.repo());
    let pull = mona.get(&format!("{repo}/pulls/{number}")).await.expect(200);
    let head = sha_of(&pull["head"]);
    let wrong = json!({"sha": "0000000000000000000000000000000000000001", "merge_method": "merge"});
    mona.put(&format!("{repo}/pulls/{number}/merge"), &wrong)
        .await
        .expect(409);
    let merged = mona
        .put(
            &format!("{repo}/pulls/{number}/merge"),
            &json!({"sha": head, "merge_method": "merge"}),
        )
        .await;
    let merged = merged.expect(200);
    assert_eq!(merged["merged"], true);
    let twice = mona
        .put(&format!("{repo}/pulls/{number}/merge"), &json!({"sha": head}))
        .await
        .expect(405);
    assert_eq!(twice["message"], "Pull Request is not mergeable");

    let pull = mona.get(&format!("{repo}/pulls/{number}")).await.expect(200);
    assert_eq!(
        (&pull["merged"], &pull["state"]),
        (&json!(true), &json!("closed"))
    );
    assert_eq!(pull["merge_commit_sha"], merged["sha"]);
    let sha = merged["sha"].as_str().unwrap();
    let main = mona.get(&format!("{repo}/git/ref/heads/main")).await.expect(200);
    assert_eq!(sha_of(&main["object"]), sha);
    let of_commit = mona.get(&format!("{repo}/commits/{sha}/pulls")).await.expect(200);
    assert_eq!(of_commit[0]["number"], number);
    let files = mona
        .get(&format!("{repo}/pulls/{number}/files"))
        .await
        .expect(200);
    assert_eq!(
        files.as_array().unwrap().len(),
        2,
        "the files of a merged pull request stay what they were"
    );

    mona.delete(&format!("{repo}/git/refs/heads/change"))
        .await
        .expect(204);
    mona.delete(&format!("{repo}/git/refs/heads/change"))
        .await
        .expect(422);
}

async fn app(world: &World) {
    let (app, repo) = (world.app_client(), world.repo());
    let found = app.get("/app").await.expect(200);
    assert_eq!(found["id"], world.app_id());
    let listed = app.get("/app/installations").await.expect(200);
    let id = listed[0]["id"].as_u64().unwrap();
    app.get(&format!("/app/installations/{id}")).await.expect(200);
    app.get("/app/installations/999999").await.expect(404);
    let found = app.get(&format!("{repo}/installation")).await.expect(200);
    assert_eq!(found["id"], id);

    let token = app
        .post(&format!("/app/installations/{id}/access_tokens"), &json!({}))
        .await
        .expect(201);
    let client = world.client.bearer(token["token"].as_str().unwrap());
    let seen = client
        .get("/installation/repositories?per_page=100")
        .await
        .expect(200);
    assert_eq!(seen["total_count"], 1);
    client.get(&repo).await.expect(200);
}

async fn deliveries(world: &World) {
    let (app, mona, repo) = (world.app_client(), &world.mona, world.repo());
    world.forge.webhooks_idle().await;
    let hook = world.repository_hook();
    for (client, base) in [
        (&app, "/app/hook".to_owned()),
        (mona, format!("{repo}/hooks/{hook}")),
    ] {
        let listed = client
            .get(&format!("{base}/deliveries?per_page=100"))
            .await
            .expect(200);
        let listed = listed.as_array().unwrap();
        assert!(!listed.is_empty(), "{base} has deliveries");
        assert!(
            listed.iter().all(|delivery| delivery["status_code"] == 202),
            "the receiver answers 202"
        );
        let first = &listed[0];
        let id = first["id"].as_u64().unwrap();
        let whole = client.get(&format!("{base}/deliveries/{id}")).await.expect(200);
        assert_eq!(whole["guid"], first["guid"]);
        assert_eq!(whole["request"]["headers"]["X-GitHub-Event"], first["event"]);
        client
            .post(&format!("{base}/deliveries/{id}/attempts"), &json!({}))
            .await
            .expect(202);
        world.forge.webhooks_idle().await;
        let again = client
            .get(&format!("{base}/deliveries?per_page=100"))
            .await
            .expect(200);
        assert_eq!(
            (&again[0]["guid"], &again[0]["redelivery"]),
            (&first["guid"], &json!(true))
        );
    }
}
