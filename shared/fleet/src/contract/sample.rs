//! Messages for tests.

use std::collections::BTreeSet;

use lockflight_promotion::change::{Change, Lineage, Repository};
use lockflight_promotion::message::{
    Body, DeliveryV1, ENVELOPE_VERSION, Envelope, ForwardV1, Original, Outcome, PushV1, Report, ReportV1,
};
use lockflight_promotion::{
    BranchName, CommitOid, DeliveryId, Login, MessageId, PrNumber, RepoId, RepoName, TraceParent,
};

/// A repository of that number.
#[must_use]
pub fn repository(repo: u64) -> Repository {
    Repository {
        id: RepoId::new(repo),
        name: RepoName::parse(format!("acme/gitops-{repo}")).unwrap(),
        installation: None,
    }
}

/// A delivery (plan work) of a repository, with that id.
#[must_use]
pub fn delivery(repo: u64, id: &str) -> Envelope {
    envelope(
        repo,
        id,
        Body::Delivery(DeliveryV1::merged(PrNumber::new(1), "00".repeat(32))),
    )
}

/// A webhook to be passed on, of a repository, with that id.
#[must_use]
pub fn forward(repo: u64, id: &str) -> Envelope {
    let forward = ForwardV1 {
        endpoint: format!("https://hooks.example.com/{id}"),
        original: original(),
    };
    envelope(repo, id, Body::Forward(Box::new(forward)))
}

/// A push (plan work with the body of a webhook) of a repository, with that id.
#[must_use]
pub fn push(repo: u64, id: &str) -> Envelope {
    let push = PushV1 {
        branch: BranchName::parse("main").unwrap(),
        paths: vec!["workspace/checkout/values.yaml".to_owned()],
        original: original(),
    };
    envelope(repo, id, Body::Push(Box::new(push)))
}

fn original() -> Original {
    Original {
        headers: vec![("x-github-event".to_owned(), "push".to_owned())],
        body: "{\"ref\": \"refs/heads/main\"}".to_owned(),
    }
}

/// A step (work for executors) of a repository, with that id.
#[must_use]
pub fn step(repo: u64, id: &str) -> Envelope {
    let oid = CommitOid::parse("0123456789012345678901234567890123456789").unwrap();
    envelope(
        repo,
        id,
        Body::Report(Box::new(ReportV1 {
            change: Change {
                repo: repository(repo),
                branch: BranchName::parse("main").unwrap(),
                default_branch: None,
                number: PrNumber::new(1),
                title: "Raise the replicas".to_owned(),
                author: Login::parse("ann").unwrap(),
                head_branch: "replicas".to_owned(),
                head: oid.clone(),
                merged_as: oid,
                committed_at: 1_700_000_000,
                labels: BTreeSet::new(),
                lineage: Lineage::default(),
                rollback: None,
            },
            report: Report::Nothing {
                reason: "nothing to promote".to_owned(),
            },
        })),
    )
}

/// An outcome (for the journal alone) of a repository, with that id.
#[must_use]
pub fn outcome(repo: u64, id: &str) -> Envelope {
    envelope(
        repo,
        id,
        Body::Outcome(Outcome::Ignored {
            reason: "no policy".to_owned(),
        }),
    )
}

fn envelope(repo: u64, id: &str, body: Body) -> Envelope {
    Envelope {
        v: ENVELOPE_VERSION,
        id: MessageId::parse(id).unwrap(),
        repo: repository(repo),
        delivery: DeliveryId::parse("72d3162e-cc78-11e3-81ab-4c9367dc0958").unwrap(),
        cause: None,
        attempt: 0,
        traceparent: TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap(),
        body,
    }
}
