//! What a policy file says beside its flows.

use std::collections::BTreeMap;

/// What a policy file says beside its flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Comment the plan in place of opening pull requests (`dryRunMode`).
    pub dry_run: bool,
    /// A second identity approves the promotion pull requests (`autoApprovePromotionPrs`).
    pub approve: bool,
    /// What becomes of an open promotion pull request when a newer change comes to the same place.
    pub supersede: Supersede,
    /// From which repositories this one takes promotions, as globs of `owner/name` in lower case. None named, from none but itself.
    pub accept_from: Vec<String>,
    /// Which commit status each comment command flips: command without its slash, then the status' context
    /// (`toggleCommitStatus`).
    pub toggle_commit_status: BTreeMap<String, String>,
    /// Where pushes to the default branch are passed on to (`webhookEndpointRegexs`).
    pub webhook_endpoints: Vec<WebhookEndpoint>,
    /// Whether the file asks for the certificates of those endpoints to go unchecked (`whProxtSkipTLSVerifyUpstream`). They are checked all the
    /// same.
    pub webhook_skip_tls_verify: bool,
    /// Telefonistka parses this list and never uses it; nor is it used here (`promtionPRlables`).
    pub pr_labels: Vec<String>,
    /// What concerns Argo CD.
    pub argocd: ArgoCdSettings,
}

/// What becomes of an open promotion pull request when a newer change brings all that it would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Supersede {
    /// It is brought up to the newer change, and says so.
    #[default]
    Update,
    /// It is closed, with a word on what took its place.
    Close,
    /// It stays as it is, and people decide, as in Telefonistka.
    Leave,
}

/// What is said of a key that asks for certificates to go unchecked.
pub(super) fn unverified(key: &str) -> String {
    format!(
        "`{key}` has no effect: certificates are always checked; whoever runs Lockflight can name an authority of your own in [outbound] ca_file"
    )
}

/// One entry of `webhookEndpointRegexs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// The pattern of changed paths, in Go's syntax. It is known to compile.
    pub expression: String,
    /// The addresses, in which `$1` or `${1}` stand for groups of the pattern.
    pub replacements: Vec<String>,
}

/// The keys below `argocd`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgoCdSettings {
    /// Comment the difference that Argo CD expects (`commentDiffonPR`).
    pub comment_diff: bool,
    /// Merge promotion pull requests that change nothing in a cluster (`autoMergeNoDiffPRs`).
    pub auto_merge_no_diff: bool,
    /// Which components may be synced from a branch, in Go's syntax; known to compile (`allowSyncfromBranchPathRegex`).
    pub allow_sync_from_branch: Option<String>,
    /// Find applications by a label with a hash of their path (`useSHALabelForAppDiscovery`).
    pub use_sha_label: bool,
    /// Make a temporary application for one that is new (`createTempAppObjectFromNewApps`).
    pub create_temporary_apps: bool,
}
