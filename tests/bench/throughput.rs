//! Promotions per second: two hundred that wait, for 1, 2 and 4 executors, and for the same requests without Lockflight.
//!
//! The steps are planned by a real planner and then kept aside. The executors start with nothing, share out the partitions, and are
//! stopped where they are; the steps are published, and the clock runs from the moment in which the executors go on until the last pull request
//! has its assignee.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use crate::floor::{Checkout, Rest};
use crate::http::{Client, Webhook};
use crate::raw::{Message, Raw};
use crate::report::{Report, progress};
use crate::stage::{Process, Stage, within};
use crate::stats::{median, short, spread};
use crate::{Plan, policies};

const EXECUTORS: [usize; 3] = [1, 2, 4];
const PROMOTIONS: usize = 200;
/// Steps of a repository in one fetch and push, at most; and batches that an executor has in hand. Both as by default.
const BATCH: usize = 32;
const LANES: usize = 8;

/// What one run was.
struct Run {
    per_second: f64,
    fetches: u64,
    pushes: u64,
    /// How much of the machine the forge's process and ours used, for those that have executors: seconds of processor of these.
    processor: f64,
}

/// One repository with 200 promotions that wait.
pub(crate) async fn hot(stage: &Stage, plan: Plan, report: &mut Report) {
    let most = u64::try_from(PROMOTIONS.div_ceil(BATCH)).unwrap_or(u64::MAX);
    let ingress = stage.start("ingress").await;
    let planner = stage.start("planner").await;
    let raw = Raw::connect(&stage.rabbit.uri()).await;
    let mut runs: [Vec<Run>; 4] = Default::default();
    for round in 0..plan.rounds(1, 3) {
        for (place, executors) in EXECUTORS.iter().enumerate() {
            let repository = format!("acme/hot-{round}-{executors}");
            stage.repository(&repository, &policies::chain(40)).await;
            let mut webhooks = Vec::new();
            for component in 0..PROMOTIONS / 40 {
                webhooks.push(stage.merge(&repository, &policies::change(component)).await.1);
            }
            let steps = planned(stage, &ingress, &webhooks, PROMOTIONS).await;
            let run = executed(stage, &raw, *executors, steps, webhooks.len()).await;
            progress(&format!(
                "round {round}, {executors} executors: {} per second",
                short(run.per_second)
            ));
            runs[place].push(run);
        }
        let repository = format!("acme/hot-{round}-floor");
        stage.repository(&repository, &policies::chain(40)).await;
        let run = bare(stage, vec![repository], PROMOTIONS, 1).await;
        progress(&format!(
            "round {round}, without Lockflight: {} per second",
            short(run.per_second)
        ));
        runs[3].push(run);
    }
    report.title(&format!("One hot repository: {PROMOTIONS} promotions wait"));
    table(&runs, "one after another", report);
    let worst = |count: fn(&Run) -> u64| runs[..3].iter().flatten().map(count).max().unwrap_or_default();
    let (fetches, pushes) = (worst(|run| run.fetches), worst(|run| run.pushes));
    report.goal(
        &format!("fetches and pushes for {PROMOTIONS} promotions that wait for one repository"),
        &format!("at most {most} each"),
        &format!("{fetches} and {pushes}"),
        fetches <= most && pushes <= most,
    );
    ingress.stop().await;
    planner.stop().await;
}

/// A hundred repositories with two promotions each.
pub(crate) async fn many(stage: &Stage, plan: Plan, report: &mut Report) {
    let count = if plan.quick { 20 } else { 100 };
    let ingress = stage.start("ingress").await;
    let planner = stage.start("planner").await;
    let raw = Raw::connect(&stage.rabbit.uri()).await;
    let repositories: Vec<_> = (0..count).map(|number| format!("acme/many-{number}")).collect();
    for repository in &repositories {
        stage.repository(repository, &policies::chain(2)).await;
    }
    let mut runs: [Vec<Run>; 4] = Default::default();
    for round in 0..plan.rounds(1, 3) {
        for (place, executors) in EXECUTORS.iter().enumerate() {
            let change = policies::change(EXECUTORS.len() * round + place);
            let merges = repositories
                .iter()
                .map(|repository| stage.merge(repository, &change));
            let merged: Vec<_> = futures::stream::iter(merges).buffer_unordered(4).collect().await;
            let webhooks: Vec<_> = merged.into_iter().map(|(_, webhook)| webhook).collect();
            let steps = planned(stage, &ingress, &webhooks, 2 * count).await;
            let run = executed(stage, &raw, *executors, steps, count).await;
            progress(&format!(
                "round {round}, {executors} executors: {} per second",
                short(run.per_second)
            ));
            runs[place].push(run);
        }
        let run = bare(stage, repositories.clone(), 2, LANES).await;
        progress(&format!(
            "round {round}, without Lockflight: {} per second",
            short(run.per_second)
        ));
        runs[3].push(run);
    }
    report.title(&format!("{count} repositories: 2 promotions wait in each"));
    table(&runs, &format!("{LANES} repositories at a time"), report);
    ingress.stop().await;
    planner.stop().await;
}

/// Has changes planned, and takes the steps (and the reports) from the queues.
async fn planned(stage: &Stage, ingress: &Process, webhooks: &[Webhook], promotions: usize) -> Vec<Message> {
    let mut client = Client::connect(ingress.address).await;
    for webhook in webhooks {
        let (status, _) = client.send(webhook.request()).await;
        assert_eq!(status, 202);
    }
    let deliveries: Vec<_> = webhooks.iter().map(|webhook| webhook.guid.as_str()).collect();
    let steps = Raw::take_steps(&stage.rabbit.uri(), &deliveries, promotions + webhooks.len()).await;
    stage.forge.reset_usage();
    let promotes = steps.iter().filter(|step| step.key.starts_with("step.promote"));
    assert_eq!(
        promotes.count(),
        promotions,
        "each change leads to as many steps as it has targets"
    );
    steps
}

/// Has executors carry out what waits.
async fn executed(stage: &Stage, raw: &Raw, count: usize, steps: Vec<Message>, changes: usize) -> Run {
    let promotions = steps.len() - changes;
    let mut executors = Vec::new();
    for _ in 0..count {
        executors.push(stage.start("executor").await);
    }
    within(shared_out(&executors), "the partitions to be shared out").await;
    executors.iter().for_each(Process::freeze);
    assert_eq!(
        calls(stage, "POST", "/repos/{owner}/{repo}/pulls"),
        0,
        "nothing was left for the executors to begin with"
    );
    stage.forge.reset_usage();
    raw.publish("lockflight.work", &steps).await;
    assert_eq!(
        stage.forge.usage().routes.len(),
        0,
        "a process that is stopped does nothing"
    );
    let used = |executors: &[Process]| executors.iter().map(Process::processor).sum::<Duration>();
    let before = used(&executors);
    let begin = Instant::now();
    executors.iter().for_each(Process::thaw);
    let run = finished(stage, begin, promotions).await;
    let processor = (used(&executors) - before).as_secs_f64();
    // The reports come last; without them the next run would find them.
    let told = async {
        while calls(stage, "POST", "/repos/{owner}/{repo}/statuses/{sha}") < changes {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(told, "the statuses").await;
    for executor in executors {
        executor.stop().await;
    }
    raw.purge_all().await;
    Run { processor, ..run }
}

/// Waits until each partition has one owner, and each executor has some. Once in a while the hash leaves one with nothing: that is taken as
/// it is when nothing changes any more.
async fn shared_out(executors: &[Process]) {
    const SETTLED: Duration = Duration::from_secs(15);
    let mut since = Instant::now();
    let mut before = Vec::new();
    loop {
        let mut owned = Vec::new();
        for executor in executors {
            owned.push(executor.metric("lockflight_partitions_owned").await);
        }
        if owned != before {
            since = Instant::now();
            before.clone_from(&owned);
        }
        let all: f64 = owned.iter().sum();
        let has_each = owned.iter().all(|one| *one > 0.5);
        if (15.5..16.5).contains(&all) && (has_each || since.elapsed() > SETTLED) {
            // The consumers follow.
            tokio::time::sleep(Duration::from_secs(1)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The same without Lockflight: so many promotions in each repository, `lanes` repositories at a time.
async fn bare(stage: &Stage, repositories: Vec<String>, promotions: usize, lanes: usize) -> Run {
    let all = repositories.len() * promotions;
    let mut prepared = Vec::new();
    let run_name = stage.fresh("floor");
    let run_name = run_name
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let names: Arc<Vec<_>> = Arc::new(
        (0..promotions)
            .map(|number| format!("floor/{run_name}-{number}"))
            .collect(),
    );
    for repository in &repositories {
        let checkout = Checkout::clone(stage, repository, "floor").await;
        checkout.branches(stage, &names).await;
        prepared.push(checkout);
    }
    let mut clients = Vec::new();
    for _ in 0..lanes {
        clients.push(Rest::connect(stage).await);
    }
    let work = Arc::new(tokio::sync::Mutex::new(prepared));
    stage.forge.reset_usage();
    let begin = Instant::now();
    let lanes = clients.into_iter().map(|mut client| {
        let (work, names) = (Arc::clone(&work), Arc::clone(&names));
        async move {
            loop {
                let Some(checkout) = work.lock().await.pop() else {
                    break;
                };
                for batch in names.chunks(BATCH) {
                    checkout.promote(stage, &mut client, batch).await;
                }
            }
        }
    });
    futures::future::join_all(lanes).await;
    finished(stage, begin, all).await
}

/// Waits until so many pull requests have been opened, labelled and assigned.
async fn finished(stage: &Stage, begin: Instant, promotions: usize) -> Run {
    const LAST: &str = "/repos/{owner}/{repo}/issues/{number}/assignees";
    let done = async {
        while calls(stage, "POST", LAST) < promotions {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(done, "all promotions").await;
    let usage = stage.forge.usage();
    let requests = stage.forge.requests();
    let last = requests.iter().filter(|request| request.route == LAST);
    let end = last
        .map(|request| request.began + request.took)
        .max()
        .expect("there are some");
    #[expect(clippy::cast_precision_loss, reason = "there are far fewer")]
    let per_second = promotions as f64 / (end - begin).as_secs_f64();
    Run {
        per_second,
        // One listing for each `git fetch`; the transfers after it are two or more.
        fetches: u64::try_from(calls(stage, "GET", "git upload-pack info/refs")).unwrap_or(u64::MAX),
        pushes: usage.git().pushes,
        processor: 0.0,
    }
}

fn calls(stage: &Stage, method: &str, route: &str) -> usize {
    let usage = stage.forge.usage();
    let calls = usage
        .routes
        .get(&format!("{method} {route}"))
        .map_or(0, |usage| usage.calls);
    usize::try_from(calls).unwrap_or(usize::MAX)
}

fn table(runs: &[Vec<Run>; 4], how: &str, report: &Report) {
    let rates = |runs: &[Run]| runs.iter().map(|run| run.per_second).collect::<Vec<_>>();
    let one = median(&rates(&runs[0]));
    let floor = median(&rates(&runs[3]));
    report.head(&[
        "promotions per second",
        "median (least–greatest)",
        "to 1 executor",
        "to the forge alone",
        "fetches, at most",
        "pushes, at most",
        "s of processor, executors and their git",
    ]);
    let names = EXECUTORS.map(|count| format!("{count} executor(s)"));
    let names = names.into_iter().chain([format!("the forge alone, {how}")]);
    for (name, runs) in names.zip(runs) {
        let rates = rates(runs);
        let rate = median(&rates);
        let most = |count: fn(&Run) -> u64| runs.iter().map(count).max().unwrap_or_default().to_string();
        let processor: Vec<_> = runs.iter().map(|run| run.processor).collect();
        report.row(&[
            name,
            spread(&rates),
            short(rate / one),
            short(rate / floor),
            most(|run| run.fetches),
            most(|run| run.pushes),
            short(median(&processor)),
        ]);
    }
}
