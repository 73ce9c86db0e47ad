//! Faults that can be switched on: what a client has to live with when it talks to the real forge.
//!
//! A fault is matched by what is asked, acts a given number of times and is then gone. Faults are looked at in the
//! order they were added; the first that matches acts alone.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use tokio::sync::watch;

/// Says which requests a fault is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestMatcher {
    service: Service,
    repository: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Service {
    Rest {
        method: Option<Method>,
        path: Option<Vec<String>>,
    },
    Git {
        command: GitService,
        advertisement: bool,
    },
}

/// One of git's two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GitService {
    /// What `git push` talks to.
    ReceivePack,
    /// What `git fetch` and `git clone` talk to.
    UploadPack,
}

impl GitService {
    /// Returns the name, as `git receive-pack`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReceivePack => "git receive-pack",
            Self::UploadPack => "git upload-pack",
        }
    }
}

impl RequestMatcher {
    /// Matches a REST (or GraphQL) call by method and path below `/api/v3`.
    ///
    /// In the path `*` and `{anything}` stand for one segment and `**` for the rest:
    /// `/repos/{owner}/{repo}/pulls/*/merge`.
    #[must_use]
    pub fn rest(method: Method, path: &str) -> Self {
        let path = path.trim_matches('/').split('/').map(str::to_owned).collect();
        Self {
            service: Service::Rest {
                method: Some(method),
                path: Some(path),
            },
            repository: None,
        }
    }

    /// Matches every REST (or GraphQL) call.
    #[must_use]
    pub const fn any_rest() -> Self {
        Self {
            service: Service::Rest {
                method: None,
                path: None,
            },
            repository: None,
        }
    }

    /// Matches the transfer of a push. The listing of refs before it is not matched.
    #[must_use]
    pub const fn git_receive_pack() -> Self {
        Self::git(GitService::ReceivePack)
    }

    /// Matches the transfer of a fetch or clone. The listing of refs before it is not matched.
    #[must_use]
    pub const fn git_upload_pack() -> Self {
        Self::git(GitService::UploadPack)
    }

    const fn git(command: GitService) -> Self {
        Self {
            service: Service::Git {
                command,
                advertisement: false,
            },
            repository: None,
        }
    }

    /// Makes a git matcher match the first round trip (`info/refs`) in place of the transfer.
    #[must_use]
    pub const fn on_advertisement(mut self) -> Self {
        if let Service::Git { advertisement, .. } = &mut self.service {
            *advertisement = true;
        }
        self
    }

    /// Narrows the matcher to one repository, `owner/name`.
    #[must_use]
    pub fn in_repository(mut self, name: &str) -> Self {
        self.repository = Some(name.to_lowercase());
        self
    }

    fn matches(&self, asked: &Asked<'_>) -> bool {
        let repository = self.repository.as_deref().is_none_or(|wanted| {
            asked
                .repository
                .is_some_and(|name| name.eq_ignore_ascii_case(wanted))
        });
        repository
            && match (&self.service, &asked.what) {
                (
                    Service::Rest { method, path },
                    AskedWhat::Rest {
                        method: asked,
                        path: asked_path,
                    },
                ) => {
                    method.as_ref().is_none_or(|wanted| wanted == *asked)
                        && path
                            .as_deref()
                            .is_none_or(|pattern| path_matches(pattern, asked_path))
                }
                (
                    Service::Git {
                        command,
                        advertisement,
                    },
                    AskedWhat::Git {
                        command: asked,
                        advertisement: first,
                    },
                ) => command == asked && advertisement == first,
                _ => false,
            }
    }
}

fn path_matches(pattern: &[String], path: &str) -> bool {
    let mut segments = path.trim_matches('/').split('/');
    for wanted in pattern {
        if wanted == "**" {
            return true;
        }
        let Some(segment) = segments.next() else {
            return false;
        };
        let any = wanted == "*" || (wanted.starts_with('{') && wanted.ends_with('}'));
        if !any && wanted != segment {
            return false;
        }
    }
    segments.next().is_none()
}

/// What is being asked, as the matchers see it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) repository: Option<&'a str>,
    pub(crate) what: AskedWhat<'a>,
}

#[derive(Debug)]
pub(crate) enum AskedWhat<'a> {
    Rest {
        method: &'a Method,
        path: &'a str,
    },
    Git {
        command: GitService,
        advertisement: bool,
    },
}

/// When a held request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldPoint {
    /// Nothing has been done yet.
    BeforeEffect,
    /// Everything has been done, only the answer is missing.
    AfterEffect,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Answers with this status, and does nothing. A 502 to 504 carries an HTML page, as GitHub's front does.
    Status(u16),
    /// Answers with this status and GitHub's JSON with this message, and does nothing: say 405 and "Base branch was
    /// modified. Review and try the merge again."
    Refuse {
        /// The status.
        status: u16,
        /// The message.
        message: String,
    },
    /// Breaks the connection before anything is done. Git gets the beginning of an answer first: without it, its
    /// HTTP library would ask again by itself.
    ResetBefore,
    /// Does everything, then breaks the connection: the caller cannot know.
    ResetAfterEffect,
    /// Does everything, then answers with this status.
    StatusAfterEffect(u16),
    /// 403 with `x-ratelimit-remaining: 0` and a reset this far ahead.
    RateLimitPrimary {
        /// How long until the limit is reset.
        reset_in: Duration,
    },
    /// 403 of the secondary limit with `retry-after`.
    SecondaryWithRetryAfter(Duration),
    /// 403 of the secondary limit that names no time.
    SecondaryWithoutHeaders,
    /// Waits until the handle lets go. Use [`Faults::hold`] to get the handle.
    Hold(HoldPoint),
}

/// A fault: who meets it, how often, and what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which requests.
    pub matcher: RequestMatcher,
    /// How many requests; then the fault is gone.
    pub times: u32,
    /// What happens.
    pub effect: Effect,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    hold: Option<Arc<HoldState>>,
}

/// The faults of a forge that are switched on now.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    armed: Arc<Mutex<Vec<Armed>>>,
}

/// A fault that acts on the request at hand.
#[derive(Debug)]
pub(crate) struct Acting {
    pub(crate) effect: Effect,
    hold: Option<Arc<HoldState>>,
}

impl Acting {
    /// Waits where the request is to be held at this point.
    pub(crate) async fn wait_at(&self, point: HoldPoint) {
        if let (Effect::Hold(at), Some(hold)) = (&self.effect, &self.hold)
            && *at == point
        {
            hold.arrived.send_modify(|count| *count += 1);
            let mut released = hold.released.subscribe();
            // The sender lives in the same state: it cannot go away while we wait.
            released.wait_for(|released| *released).await.ok();
        }
    }
}

impl Faults {
    /// Switches a fault on.
    ///
    /// [`Effect::Hold`] without a handle would wait for ever: it is switched on with [`Faults::hold`].
    pub fn add(&self, fault: Fault) {
        self.lock().push(Armed { fault, hold: None });
    }

    /// Holds the next matching request until the handle lets go.
    #[must_use]
    pub fn hold(&self, matcher: RequestMatcher, point: HoldPoint) -> Held {
        let state = Arc::new(HoldState::default());
        let fault = Fault {
            matcher,
            times: 1,
            effect: Effect::Hold(point),
        };
        self.lock().push(Armed {
            fault,
            hold: Some(Arc::clone(&state)),
        });
        Held { state }
    }

    /// Returns how many faults have not acted as often as they should yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.lock().len()
    }

    /// Switches all faults off. Requests that are held stay held.
    pub fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn take(&self, asked: &Asked<'_>) -> Option<Acting> {
        let mut armed = self.lock();
        let at = armed
            .iter()
            .position(|one| one.fault.matcher.matches(asked) && one.fault.times > 0)?;
        let found = armed.get_mut(at)?;
        found.fault.times -= 1;
        let acting = Acting {
            effect: found.fault.effect.clone(),
            hold: found.hold.clone(),
        };
        if found.fault.times == 0 {
            armed.remove(at);
        }
        Some(acting)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct HoldState {
    arrived: watch::Sender<u32>,
    released: watch::Sender<bool>,
}

impl Default for HoldState {
    fn default() -> Self {
        Self {
            arrived: watch::Sender::new(0),
            released: watch::Sender::new(false),
        }
    }
}

impl fmt::Debug for HoldState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldState")
            .field("arrived", &*self.arrived.borrow())
            .finish_non_exhaustive()
    }
}

/// A request that is (or will be) held. It goes on when it is released or when this handle is dropped.
#[derive(Debug)]
pub struct Held {
    state: Arc<HoldState>,
}

impl Held {
    /// Waits until a request is held.
    pub async fn arrived(&self) {
        let mut arrived = self.state.arrived.subscribe();
        arrived.wait_for(|count| *count > 0).await.ok();
    }

    /// Lets the request go on.
    pub fn release(&self) {
        self.state.released.send_replace(true);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Asked, AskedWhat, Effect, Fault, Faults, RequestMatcher};

    fn asked<'a>(method: &'a Method, path: &'a str) -> Asked<'a> {
        Asked {
            repository: Some("Acme/GitOps"),
            what: AskedWhat::Rest { method, path },
        }
    }

    #[test]
    fn a_fault_acts_as_often_as_it_should_and_only_where_it_should() {
        let faults = Faults::default();
        let matcher = RequestMatcher::rest(Method::PUT, "/repos/{owner}/{repo}/pulls/*/merge")
            .in_repository("acme/gitops");
        faults.add(Fault {
            matcher,
            times: 2,
            effect: Effect::ResetBefore,
        });
        let path = "/repos/acme/gitops/pulls/7/merge";
        assert!(faults.take(&asked(&Method::POST, path)).is_none());
        assert!(
            faults
                .take(&asked(&Method::PUT, "/repos/acme/gitops/pulls/7"))
                .is_none()
        );
        assert!(faults.take(&asked(&Method::PUT, path)).is_some());
        assert!(faults.take(&asked(&Method::PUT, path)).is_some());
        assert!(faults.take(&asked(&Method::PUT, path)).is_none());
        assert_eq!(faults.pending(), 0);
    }

    #[test]
    fn two_stars_match_the_rest_of_a_path() {
        let faults = Faults::default();
        let matcher = RequestMatcher::rest(Method::GET, "/repos/*/*/contents/**");
        faults.add(Fault {
            matcher,
            times: 1,
            effect: Effect::Status(502),
        });
        assert!(
            faults
                .take(&asked(&Method::GET, "/repos/a/b/contents/x/y/z"))
                .is_some()
        );
    }
}
