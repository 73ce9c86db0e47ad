use super::super::{LIMIT, dry_run, sample};

#[test]
fn a_dry_run_lists_what_would_be_opened() {
    assert_eq!(
        dry_run(&sample::change(), &sample::plan()),
        "\
**Dry run:** `0123456789ab` would open 2 promotion pull requests. Nothing was opened, because the policy asks for a dry run.

| To | Components | From | Paths | Merged by |
|---|---|---|---|---|
| lab | `nginx` | `workspace` | `clusters/lab/europe-west4/c1` | itself |
| `clusters/staging/europe-west4/c1` and `clusters/staging/us-central1/c1` | `nginx` and `redis` | `workspace` | `clusters/staging/europe-west4/c1` and `clusters/staging/us-central1/c1` | a person, after review |

**Note**

- workspace/nginx and shared/nginx both lead to clusters/lab/europe-west4/c1/nginx; the later flow wins

<details>
<summary>Left out: 1</summary>

| Component | Target | Why |
|---|---|---|
| `redis` | `clusters/staging/us-central1/c1/redis` | blocked by workspace/redis/telefonistka.yaml:3 |

</details>
"
    );
}

#[test]
fn a_dry_run_of_nothing_is_one_sentence() {
    let mut plan = sample::plan();
    plan.steps.clear();
    plan.notes.clear();
    plan.skipped.clear();
    assert_eq!(
        dry_run(&sample::change(), &plan),
        "**Dry run:** `0123456789ab` would open no promotion pull request.\n"
    );
}

#[test]
fn a_dry_run_of_very_much_is_cut() {
    let mut plan = sample::plan();
    plan.steps = vec![sample::step_to_staging(); 2_000];
    let text = dry_run(&sample::change(), &plan);
    assert!(text.len() <= LIMIT);
    assert!(text.ends_with("\n\n**Cut here:** GitHub takes no longer text.\n"));
}
