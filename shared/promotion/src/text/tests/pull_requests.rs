use super::super::pull_request::body;
use super::super::{LIMIT, Links, sample};
use crate::plan::{Skipped, Sync};

const MARKER: &str = "<!-- lockflight:v1 e30 00 -->";

fn links() -> Links {
    Links::new("https://github.com")
}

#[test]
fn the_first_hop_tells_the_title_of_the_change() {
    assert_eq!(
        body(&sample::change(), &sample::step_to_lab(), MARKER, &links()),
        "\
<!-- lockflight:v1 e30 00 -->
Promotes `nginx` from `workspace` to lab.

It merges by itself as soon as the rules of the branch allow. Then the change goes on to what comes next.

**The way of this change**

- #10 by `alice` changed `workspace`: “Bump nginx to 1.27.1”
  - this pull request brings it to `clusters/lab/europe-west4/c1`

**What it does**

Each path below becomes what stands at its source in [`0123456789ab`](https://github.com/acme/gitops/commit/0123456789abcdef0123456789abcdef01234567), file for file.

| From | To | Content |
|---|---|---|
| `workspace/nginx` | `clusters/lab/europe-west4/c1/nginx` | tree `89abcdef0123` |

<!-- lockflight:end -->
"
    );
}

#[test]
fn a_later_hop_draws_the_whole_way() {
    let step = sample::step(
        "clusters/staging",
        &["clusters/prod/us-west1/c2"],
        "Production US, first cell",
        &["nginx"],
    );
    assert_eq!(
        body(&sample::later_change(), &step, MARKER, &links()),
        "\
<!-- lockflight:v1 e30 00 -->
Promotes `nginx` from `clusters/staging` to Production US, first cell.

It waits for a person to review and merge it. Then the change goes on by itself to what comes next.

**The way of this change**

- #10 by `alice` changed `workspace`
  - #11 brought it to `clusters/lab/europe-west4/c1`
    - #12 brought it to `clusters/staging/europe-west4/c1` and `clusters/staging/us-central1/c1`
      - this pull request brings it to `clusters/prod/us-west1/c2`

**What it does**

Each path below becomes what stands at its source in [`0123456789ab`](https://github.com/acme/gitops/commit/0123456789abcdef0123456789abcdef01234567), file for file.

| From | To | Content |
|---|---|---|
| `clusters/staging/nginx` | `clusters/prod/us-west1/c2/nginx` | tree `89abcdef0123` |

<!-- lockflight:end -->
"
    );
}

#[test]
fn removed_and_skipped_components_are_shown() {
    assert_eq!(
        body(&sample::change(), &sample::step_to_staging(), MARKER, &links()),
        "\
<!-- lockflight:v1 e30 00 -->
Promotes `nginx` and `redis` from `workspace` to `clusters/staging/europe-west4/c1` and `clusters/staging/us-central1/c1`.

It waits for a person to review and merge it. Then the change goes on by itself to what comes next.

**The way of this change**

- #10 by `alice` changed `workspace`: “Bump nginx to 1.27.1”
  - this pull request brings it to `clusters/staging/europe-west4/c1` and `clusters/staging/us-central1/c1`

**What it does**

Each path below becomes what stands at its source in [`0123456789ab`](https://github.com/acme/gitops/commit/0123456789abcdef0123456789abcdef01234567), file for file.

| From | To | Content |
|---|---|---|
| `workspace/nginx` | `clusters/staging/europe-west4/c1/nginx` | tree `89abcdef0123` |
| `workspace/nginx` | `clusters/staging/us-central1/c1/nginx` | tree `89abcdef0123` |
| `workspace/redis` | `clusters/staging/europe-west4/c1/redis` | removed, as at its source |

<details>
<summary>Left out: 1</summary>

| Component | Target | Why |
|---|---|---|
| `redis` | `clusters/staging/us-central1/c1/redis` | blocked by workspace/redis/telefonistka.yaml:3 |

</details>

<!-- lockflight:end -->
"
    );
}

#[test]
fn a_body_in_another_repository_names_the_repository_of_the_change() {
    let mut step = sample::step_to_lab();
    step.targets[0].repo = crate::RepoName::parse("acme/production").unwrap();
    let body = body(&sample::later_change(), &step, MARKER, &links());
    assert!(body.contains("\n- acme/gitops#10 by `alice`"), "{body}");
}

#[test]
fn a_body_that_is_too_long_is_cut_and_says_so() {
    let mut step = sample::step_to_staging();
    step.sync = (0..5_000)
        .map(|n| Sync {
            to: sample::path(&format!("clusters/staging/{n}/nginx")),
            ..step.sync[0].clone()
        })
        .collect();
    let text = body(&sample::change(), &step, MARKER, &links());
    assert!(text.len() <= LIMIT);
    assert!(
        text.ends_with(
            "| tree `89abcdef0123` |\n\n**Cut here:** GitHub takes no longer text. The files of this pull request show all of it.\n\n<!-- lockflight:end -->\n"
        ),
        "{text}"
    );

    let mut step = sample::step_to_staging();
    step.skipped = (0..5_000)
        .map(|n| Skipped {
            reason: format!("reason {n}"),
            ..sample::skipped()
        })
        .collect();
    let text = body(&sample::change(), &step, MARKER, &links());
    assert!(text.len() <= LIMIT);
    assert!(
        text.ends_with("\n</details>\n\n**Cut here:** GitHub takes no longer text. The files of this pull request show all of it.\n\n<!-- lockflight:end -->\n")
    );
}

#[test]
fn a_very_long_way_is_drawn_at_both_ends() {
    let mut change = sample::later_change();
    let hop = change.lineage.hops[1].clone();
    change.lineage.hops.resize(60, hop);
    change.lineage.hops[3].targets.clear();
    let body = body(&change, &sample::step_to_lab(), MARKER, &links());
    let way: Vec<&str> = body
        .lines()
        .filter(|line| line.trim_start().starts_with("- "))
        .collect();
    assert_eq!(way.len(), 23);
    assert_eq!(way[4].trim(), "- a part of the way is too long to be shown");
    assert_eq!(way[11].trim(), "- 40 steps more");
    assert_eq!(
        way[22].trim(),
        "- this pull request brings it to `clusters/lab/europe-west4/c1`"
    );
}
