//! The JSON Schema of `lockflight.yaml` and of a component's file of that name, so that editors complete and check them.
//!
//! The types here are never made. They say once more, with a description and examples for each key, what the compiler in
//! `native` takes; a test holds the two against each other. Some rules are the compiler's alone, such as that a name
//! means something.

#![expect(dead_code, reason = "these types are never made: only their schema is")]

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// The schema of the policy of a repository.
#[must_use]
pub fn repository() -> Value {
    schema::<Policy>()
}

/// The schema of the policy of a component.
#[must_use]
pub fn component() -> Value {
    schema::<Component>()
}

fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(without_nothing));
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// A key that may be left out is not one that may be given nothing.
fn without_nothing(schema: &mut Schema) {
    let Some(Value::Object(properties)) = schema.get_mut("properties") else {
        return;
    };
    for property in properties.values_mut() {
        if let Some(Value::Array(types)) = property.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                if let Some(kind) = property.get_mut("type") {
                    *kind = only;
                }
            }
        }
        if let Some(Value::Array(choices)) = property.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        }
    }
}

/// What goes where in this repository: environments, and flows that lead from one to others. Top-level keys that begin with `x-`
/// are ignored; they can hold what YAML anchors are put on.
#[derive(JsonSchema)]
#[schemars(title = "Lockflight policy", deny_unknown_fields, extend("patternProperties" = { "^x-": true }))]
struct Policy {
    /// The version of this format.
    #[schemars(extend("const" = 1))]
    version: u8,
    /// The environments by their names.
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$" }))]
    environments: Option<BTreeMap<String, Environment>>,
    components: Option<Components>,
    /// Where changes go. For each changed file the first flow counts whose source it lies in and whose conditions hold.
    #[schemars(length(min = 1))]
    flows: Option<Vec<Flow>>,
    /// Which files of a component travel, in each flow that does not say it itself.
    select: Option<Selection>,
    defaults: Option<Defaults>,
    /// Servers that are asked whether a wave is healthy, by the names that waves use under `healthy`.
    #[schemars(extend("propertyNames" = { "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$" }))]
    gates: Option<BTreeMap<String, Gate>>,
    /// When nothing may go into an environment.
    #[schemars(length(min = 1, max = 100))]
    freezes: Option<Vec<Freeze>>,
    webhooks: Option<Webhooks>,
    commands: Option<Commands>,
    /// From which other repositories this one takes promotions: `owner/name`, or a glob such as `acme/*`. Nobody else can have anything opened
    /// or merged here.
    #[schemars(length(min = 1, max = 250))]
    accept_from: Option<Vec<Text>>,
}

/// Text that is not empty.
#[derive(JsonSchema)]
#[schemars(inline, extend("pattern" = "\\S"))]
struct Text(String);

/// Whole numbers with the units `w`, `d`, `h`, `m` and `s`, the largest first.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^([0-9]{1,9}[wdhms])+$", "examples" = ["30m", "4h", "2d", "1h30m"]))]
struct Duration(String);

/// A directory in the repository, without a slash at its start. In `environments` it may hold `{environment}` and `{domain}`.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "\\S", "examples" = ["clusters/lab", "clusters/{environment}/{domain}"]))]
struct Directory(String);

/// A branch. In `environments` it may hold `{environment}` and `{domain}`.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "\\S", "examples" = ["env/{environment}"]))]
struct Branch(String);

/// Another repository on the same forge, as `owner/name`. In `environments` it may hold `{environment}` and `{domain}`.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "^[^/\\s]+/[^/\\s]+$", "examples" = ["acme/deploy-{environment}"]))]
struct RepositoryName(String);

/// A file of each component, relative to the component: chosen keys of it travel, and nothing else. In `environments` it may hold
/// `{environment}` and `{domain}`.
#[derive(JsonSchema)]
#[schemars(extend("pattern" = "\\.([yY][aA]?[mM][lL]|[jJ][sS][oO][nN]|[tT][oO][mM][lL])/?$", "examples" = ["values-{environment}.yaml"]))]
struct File(String);

/// A distinct part of the infrastructure, such as lab, staging or production. Without `domains` it is one place itself.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Environment {
    path: Option<Directory>,
    branch: Option<Branch>,
    repository: Option<RepositoryName>,
    file: Option<File>,
    /// Its failure domains by their names: parts that are deployed one after another. What one leaves out is as the environment has it.
    #[schemars(extend("minProperties" = 1, "propertyNames" = { "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$" }))]
    domains: Option<BTreeMap<String, Option<Domain>>>,
}

/// A failure domain. It is called `environment/domain` elsewhere.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Domain {
    path: Option<Directory>,
    branch: Option<Branch>,
    repository: Option<RepositoryName>,
    file: Option<File>,
}

/// What is promoted as one.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Components {
    /// How many directories below a place name a component. With 0 the place itself is the component.
    #[schemars(range(min = 0, max = 31), extend("default" = 1))]
    depth: Option<u8>,
}

/// From one place to others, wave by wave.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Flow {
    /// What people call it; each name once.
    name: Option<Text>,
    /// Where it begins: the name of a place, or a directory.
    from: Start,
    /// When it holds. Each condition that is given has to be met.
    when: Option<When>,
    components: Option<Components>,
    /// Which files of a component travel, in place of the top-level `select`.
    select: Option<Selection>,
    /// Which keys travel. Needed where the flow begins at a `file`, and only there.
    #[schemars(length(min = 1, max = 256), extend("examples" = [["image.tag", "containers[name=app].image"]]))]
    keys: Option<Vec<Text>>,
    /// Where it leads, one after another. An empty list leads nowhere.
    #[schemars(length(max = 1000))]
    waves: Vec<Wave>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Start {
    /// The name of a place: an environment without domains, or `environment/domain`.
    Place(Text),
    Location(FromLocation),
}

/// A directory that is no environment, or many by a pattern.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct FromLocation {
    path: Option<Directory>,
    /// A regular expression in Go's syntax of directories that hold components, anchored at both ends.
    #[schemars(extend("examples" = ["clusters/staging/[^/]+/[^/]+/"]))]
    pattern: Option<Text>,
    branch: Option<Branch>,
    file: Option<File>,
}

/// Conditions of a flow.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct When {
    /// The change has one of these labels.
    #[schemars(length(min = 1))]
    labels: Option<Vec<Text>>,
    /// The change began with one of these people, by login.
    #[schemars(length(min = 1))]
    authors: Option<Vec<Text>>,
    /// Only changed files that one of these globs means count, relative to the repository.
    #[schemars(length(min = 1, max = 250))]
    paths: Option<Vec<Text>>,
    /// Only components that one of these globs means go.
    #[schemars(length(min = 1, max = 250))]
    components: Option<Vec<Text>>,
}

/// Globs of files, relative to the component. One without a slash means a name at any depth. What is not selected stays as it is at the target.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Selection {
    /// Only these travel.
    #[schemars(length(min = 1, max = 250), extend("items" = { "type": "string", "pattern": "\\S", "not": { "pattern": "(^|/)\\.{1,2}(/|$)" } }))]
    include: Option<Vec<Text>>,
    /// These do not travel, although they are included.
    #[schemars(length(min = 1, max = 250), extend("items" = { "type": "string", "pattern": "\\S", "not": { "pattern": "(^|/)\\.{1,2}(/|$)" } }, "examples" = [["values-region-*.yaml"]]))]
    exclude: Option<Vec<Text>>,
}

/// Places that are promoted together.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("anyOf" = [
    { "required": ["to"] },
    { "required": ["pull_requests"], "properties": { "pull_requests": { "type": "array" } } }
]))]
struct Wave {
    /// What people call it, and what `after` of later waves calls it.
    name: Option<Text>,
    /// Environments, places such as `production/us-west1`, or globs such as `production/us-*`. An environment or a glob means what earlier
    /// waves have left of it. It may be left out where `pull_requests` lists places.
    #[schemars(length(min = 1))]
    to: Option<Vec<Text>>,
    /// In how many pull requests. Places in different branches or repositories are never in one.
    #[schemars(extend("default" = "per-wave"))]
    pull_requests: Option<PullRequests>,
    #[schemars(extend("default" = "manual"))]
    merge: Option<Merge>,
    gates: Option<WaveGates>,
    /// Which earlier waves it waits for; by default the one before it.
    after: Option<After>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum PullRequests {
    How(Together),
    /// The pull requests one by one.
    Listed(#[schemars(length(min = 1))] Vec<PullRequest>),
}

/// How the places of a wave are put together.
#[expect(
    clippy::enum_variant_names,
    reason = "the words of the policy are made of them"
)]
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Together {
    /// One for all.
    PerWave,
    /// One for each environment.
    PerEnvironment,
    /// One for each place.
    PerDomain,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum PullRequest {
    /// The places that it leads to.
    Places(#[schemars(length(min = 1))] Vec<Text>),
    Named(NamedPullRequest),
}

/// A pull request with a name.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct NamedPullRequest {
    /// What people call its targets.
    name: Option<Text>,
    /// The places that it leads to.
    #[schemars(length(min = 1))]
    to: Vec<Text>,
}

/// Who merges.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Merge {
    /// Lockflight, as soon as the forge allows.
    Auto,
    /// People.
    Manual,
}

/// What must hold, beside that all of its pull requests are merged, before what comes after the wave begins.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct WaveGates {
    /// Who has to approve each of its pull requests: `true` for one person.
    approval: Option<Approval>,
    /// How long it has to stand after its last merge, at most 90 days.
    soak: Option<Duration>,
    /// Commit statuses or check runs that have to succeed on each merged commit.
    #[schemars(length(min = 1))]
    checks: Option<Vec<Text>>,
    /// The name of a gate under top-level `gates`, or several.
    healthy: Option<Healthy>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Approval {
    Whether(bool),
    Who(Approvals),
}

/// Who has to approve.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Approvals {
    /// How many people.
    #[schemars(range(min = 1, max = 100), extend("default" = 1))]
    count: Option<u8>,
    /// Teams of the organisation, by slug: those who count are members of one of them.
    #[schemars(length(min = 1), extend("items" = { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,100}$" }))]
    teams: Option<Vec<Text>>,
    /// Whether an owner of each changed file, by the CODEOWNERS of the target, has to be among them.
    code_owners: Option<bool>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum Healthy {
    One(Text),
    All(#[schemars(length(min = 1))] Vec<Text>),
}

/// Exactly one of `all` and `any`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
struct After {
    /// All of these waves; with none it begins at once.
    all: Option<Vec<Text>>,
    /// One of these waves.
    #[schemars(length(min = 1))]
    any: Option<Vec<Text>>,
}

/// Exactly one of `http` and `prometheus`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
struct Gate {
    http: Option<Http>,
    prometheus: Option<Prometheus>,
}

/// A server that answers with JSON. Exactly one comparison.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = [
    { "required": ["equals"] }, { "required": ["below"] }, { "required": ["at_most"] }, { "required": ["above"] }, { "required": ["at_least"] }
]))]
struct Http {
    /// The address, which is read with GET.
    #[schemars(extend("pattern" = "^[hH][tT][tT][pP][sS]?:"))]
    url: String,
    /// Where in the answer the value stands: a JSON pointer. Without it the answer itself is the value.
    #[schemars(extend("pattern" = "^/", "examples" = ["/status/health/status"]))]
    pointer: Option<String>,
    /// The value is this.
    #[schemars(with = "Option<AnyValue>")]
    equals: Option<AnyValue>,
    /// The value is a number below this.
    below: Option<f64>,
    /// The value is a number of at most this.
    at_most: Option<f64>,
    /// The value is a number above this.
    above: Option<f64>,
    /// The value is a number of at least this.
    at_least: Option<f64>,
    /// How often it is asked.
    #[schemars(extend("default" = "30s"))]
    every: Option<Duration>,
}

#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum AnyValue {
    Text(String),
    Number(f64),
    Truth(bool),
}

/// A query of Prometheus. Exactly one comparison, which every sample has to meet.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = [
    { "required": ["equals"] }, { "required": ["below"] }, { "required": ["at_most"] }, { "required": ["above"] }, { "required": ["at_least"] }
]))]
struct Prometheus {
    /// The server's address, up to what stands before `/api/v1`.
    #[schemars(extend("pattern" = "^[hH][tT][tT][pP][sS]?:", "examples" = ["https://prometheus.example.com"]))]
    url: String,
    /// The query, in which `$window` stands for the window.
    #[schemars(extend("pattern" = "\\S", "examples" = ["sum(rate(http_errors_total[$window]))"]))]
    query: String,
    /// Every sample is this.
    equals: Option<f64>,
    /// Every sample is below this.
    below: Option<f64>,
    /// Every sample is at most this.
    at_most: Option<f64>,
    /// Every sample is above this.
    above: Option<f64>,
    /// Every sample is at least this.
    at_least: Option<f64>,
    /// What `$window` becomes.
    #[schemars(extend("default" = "5m"))]
    window: Option<Duration>,
    /// How often it is asked.
    #[schemars(extend("default" = "1m"))]
    every: Option<Duration>,
}

/// A window in which nothing is opened towards an environment, and nothing merged there by Lockflight.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Freeze {
    /// Environments, places or globs.
    #[schemars(length(min = 1))]
    environments: Vec<Text>,
    /// When it begins: minute, hour, day of the month, month, day of the week.
    #[schemars(extend("pattern" = "\\S", "examples" = ["0 16 * * FRI"]))]
    cron: String,
    /// How long it lasts, from a minute to 366 days.
    duration: Duration,
    /// The time zone of `cron`, by its IANA name.
    #[schemars(extend("default" = "UTC", "examples" = ["Europe/Berlin"]))]
    time_zone: Option<Text>,
    /// Why, for people.
    reason: Text,
}

/// What holds where nothing else is said.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Defaults {
    #[schemars(extend("default" = "manual"))]
    merge: Option<Merge>,
    #[schemars(extend("default" = "per-wave"))]
    pull_requests: Option<Together>,
    #[schemars(extend("default" = "update"))]
    supersede: Option<Supersede>,
    /// Whether a second identity approves the promotion pull requests.
    approve: Option<bool>,
    /// Whether the plan is told in a comment in place of pull requests.
    dry_run: Option<bool>,
}

/// What becomes of an open promotion pull request when a newer change brings all that it would, from the same source to the same targets.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
enum Supersede {
    /// It is brought up to the newer change, and says so.
    Update,
    /// It is closed in favour of the newer one's own.
    Close,
    /// It stays as it is.
    Leave,
}

/// Where pushes to the default branch are passed on to.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Webhooks {
    /// For each changed file the first endpoint whose `paths` match.
    #[schemars(length(min = 1, max = 250))]
    endpoints: Vec<Endpoint>,
    /// Has no effect: the certificates of the endpoints are always checked.
    skip_tls_verify: Option<bool>,
}

/// Addresses for the pushes that touch some paths.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Endpoint {
    /// A regular expression of changed paths, in Go's syntax.
    paths: Text,
    /// Addresses, in which `$1` or `${1}` stand for groups of `paths`.
    #[schemars(length(min = 1, max = 250))]
    send_to: Vec<Text>,
}

/// Commands in comments.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Commands {
    /// Which commit status each command flips: the command without its slash, and the status' name.
    #[schemars(extend("maxProperties" = 250, "propertyNames" = { "pattern": "^[^/\\s]\\S{0,63}$" }))]
    toggle: Option<BTreeMap<String, Text>>,
}

/// Where one component may go, in its own directory.
#[derive(JsonSchema)]
#[schemars(title = "Lockflight component policy", deny_unknown_fields)]
struct Component {
    /// The version of this format.
    #[schemars(extend("const" = 1))]
    version: Option<u8>,
    targets: ComponentTargets,
}

/// Block beats allow.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ComponentTargets {
    /// It goes to these alone.
    #[schemars(length(min = 1, max = 250))]
    allow: Option<Vec<TargetEntry>>,
    /// It does not go to these.
    #[schemars(length(min = 1, max = 250))]
    block: Option<Vec<TargetEntry>>,
}

#[derive(JsonSchema)]
#[schemars(untagged)]
enum TargetEntry {
    /// An environment, a place, a path, or a glob of those.
    Places(Text),
    Pattern(TargetPattern),
}

/// A regular expression in Go's syntax, as in Telefonistka's lists.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct TargetPattern {
    /// It is looked for in the target's path, and at the start of the component's path there.
    pattern: Text,
}

#[cfg(test)]
mod tests;
