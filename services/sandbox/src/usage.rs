//! What was asked of the forge, and what it cost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Method;

use crate::clock::Timestamp;
use crate::faults::GitService;

/// This many requests are kept; older ones are forgotten, but stay counted in [`Usage`].
const KEPT_REQUESTS: usize = 50_000;

/// One request that the forge answered (or did not, where a fault broke the connection).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The HTTP method.
    pub method: Method,
    /// The route, as `/repos/{owner}/{repo}/pulls`, below `/api/v3`; for git `git receive-pack` or
    /// `git upload-pack`, with `info/refs` behind it for the first round trip.
    pub route: String,
    /// The path and query, as they were sent.
    pub path: String,
    /// The repository, as `owner/name`, where the path names one.
    pub repository: Option<String>,
    /// The status that was answered. Nothing where the connection was broken instead.
    pub status: Option<u16>,
    /// Who asked: a login, an App's slug, or `anonymous`.
    pub actor: String,
    /// When it came.
    pub at: Timestamp,
    /// When it came, for those who measure.
    pub began: Instant,
    /// From then until the answer was there: for git until its last byte was handed over.
    pub took: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

/// How often one route was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteUsage {
    /// Requests.
    pub calls: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of the answers' bodies.
    pub bytes_out: u64,
}

/// What git cost in one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GitUsage {
    /// HTTP requests of git, listings of refs included.
    pub round_trips: u64,
    /// Pushes: transfers to `receive-pack`.
    pub pushes: u64,
    /// Fetches and clones: transfers from `upload-pack`. Protocol 2 needs two or more for one fetch.
    pub fetches: u64,
    /// Those of them that only ask where the branches are (`ls-refs`), and bring nothing.
    pub looks: u64,
    /// Bytes that came in.
    pub bytes_in: u64,
    /// Bytes that went out.
    pub bytes_out: u64,
}

/// What one repository cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RepositoryUsage {
    /// REST calls about it.
    pub rest_calls: u64,
    /// Those of them that were no GET.
    pub rest_mutations: u64,
    /// What git cost.
    pub git: GitUsage,
}

/// What everything cost since the start or the last reset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// REST and GraphQL calls.
    pub rest_calls: u64,
    /// Those of them that were no GET.
    pub rest_mutations: u64,
    /// Calls by method and route, such as `POST /repos/{owner}/{repo}/pulls`.
    pub routes: BTreeMap<String, RouteUsage>,
    /// Costs by repository, `owner/name`.
    pub repositories: BTreeMap<String, RepositoryUsage>,
}

impl Usage {
    /// Returns what git cost in all repositories.
    #[must_use]
    pub fn git(&self) -> GitUsage {
        self.repositories
            .values()
            .fold(GitUsage::default(), |sum, one| GitUsage {
                round_trips: sum.round_trips + one.git.round_trips,
                pushes: sum.pushes + one.git.pushes,
                fetches: sum.fetches + one.git.fetches,
                looks: sum.looks + one.git.looks,
                bytes_in: sum.bytes_in + one.git.bytes_in,
                bytes_out: sum.bytes_out + one.git.bytes_out,
            })
    }
}

#[derive(Debug, Default)]
struct Book {
    requests: VecDeque<RecordedRequest>,
    usage: Usage,
}

/// Writes down every request.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    book: Mutex<Book>,
}

impl Recorder {
    pub(crate) fn rest(&self, mut request: RecordedRequest) {
        request.took = request.began.elapsed();
        let mutation = u64::from(request.method != Method::GET && request.method != Method::HEAD);
        let mut book = self.lock();
        book.usage.rest_calls += 1;
        book.usage.rest_mutations += mutation;
        if let Some(name) = &request.repository {
            let repository = book.usage.repositories.entry(name.clone()).or_default();
            repository.rest_calls += 1;
            repository.rest_mutations += mutation;
        }
        book.keep(request);
    }

    pub(crate) fn git(&self, mut request: RecordedRequest, transfer: Option<GitService>, looks: bool) {
        request.took = request.began.elapsed();
        let mut book = self.lock();
        if let Some(name) = &request.repository {
            let git = &mut book.usage.repositories.entry(name.clone()).or_default().git;
            git.round_trips += 1;
            git.pushes += u64::from(transfer == Some(GitService::ReceivePack));
            git.fetches += u64::from(transfer == Some(GitService::UploadPack));
            git.looks += u64::from(looks);
            git.bytes_in += request.bytes_in;
            git.bytes_out += request.bytes_out;
        }
        book.keep(request);
    }

    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        self.lock().requests.iter().cloned().collect()
    }

    pub(crate) fn usage(&self) -> Usage {
        self.lock().usage.clone()
    }

    pub(crate) fn reset(&self) {
        *self.lock() = Book::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn keep(&mut self, request: RecordedRequest) {
        let route = self
            .usage
            .routes
            .entry(format!("{} {}", request.method, request.route))
            .or_default();
        route.calls += 1;
        route.bytes_in += request.bytes_in;
        route.bytes_out += request.bytes_out;
        if self.requests.len() == KEPT_REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }
}
