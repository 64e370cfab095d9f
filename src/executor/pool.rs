//! Hot sandboxes: one that has answered waits for the next call of its version, until it has idled too long or others
//! are wanted more. The pool decides which sandbox runs a call and when one goes; how it is started and spoken to is
//! its launcher's business.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::sandbox::{Launcher, Sandbox};
use crate::model::{AppName, Config, Function, Version};
use crate::seam::Clock;
use crate::seam::executor::{Calls, Executor, Fault, Mismatch, Run, Work};

/// How long [`Executor::close`] waits for runs that nobody polls any more.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// An executor over a launcher. Everything it has started is stopped by [`Executor::close`], or killed when the pool
/// is dropped.
pub struct Pool {
    launcher: Arc<dyn Launcher>,
    shared: Arc<Shared>,
    /// Stops sandboxes, and evicts the idle.
    tasks: Mutex<JoinSet<()>>,
    closing: Notify,
    hot_max: usize,
}

struct Shared {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// A sandbox expires earlier than the evictor expects, or all are gone.
    earlier: Notify,
    /// The last run has ended, after close.
    ended: Notify,
}

#[derive(Default)]
struct State {
    closed: bool,
    running: usize,
    /// The longest unused first.
    idle: Vec<Idle>,
    /// When the evictor looks next; `None`: there is none.
    evicts_at: Option<Duration>,
}

struct Idle {
    hot: Hot,
    expires_at: Duration,
}

struct Hot {
    key: Key,
    sandbox: Box<dyn Sandbox>,
}

/// What two calls must have in common to share a sandbox: all that its environment is made of.
struct Key {
    app: AppName,
    app_config: Arc<Config>,
    function: Arc<Function>,
    version: Arc<Version>,
}

impl Key {
    fn of(work: &Work) -> Key {
        Key {
            app: work.app.clone(),
            app_config: work.app_config.clone(),
            function: work.function.clone(),
            version: work.version.clone(),
        }
    }

    fn fits(&self, work: &Work) -> bool {
        let (mine, its) = (&*self.function, &*work.function);
        self.app == work.app
            && (Arc::ptr_eq(&self.version, &work.version) || self.version.id == work.version.id)
            && (Arc::ptr_eq(&self.function, &work.function)
                || (&mine.name, mine.kind, &mine.config) == (&its.name, its.kind, &its.config))
            && (Arc::ptr_eq(&self.app_config, &work.app_config) || self.app_config == work.app_config)
    }
}

impl Pool {
    /// Keeps at most `hot_max` idle sandboxes.
    pub fn new(launcher: Arc<dyn Launcher>, clock: Arc<dyn Clock>, hot_max: usize) -> Pool {
        let shared = Shared { clock, state: Mutex::default(), earlier: Notify::new(), ended: Notify::new() };
        Pool { launcher, shared: Arc::new(shared), tasks: Mutex::default(), closing: Notify::new(), hot_max }
    }

    /// The idle sandbox that was used last. One that has ended meanwhile is removed.
    fn take(&self, work: &Work) -> Option<Hot> {
        loop {
            let hot = {
                let mut state = self.shared.lock();
                let position = state.idle.iter().rposition(|idle| idle.hot.key.fits(work))?;
                state.idle.remove(position).hot
            };
            if hot.sandbox.is_reusable() {
                return Some(hot);
            }
            self.reap(hot.sandbox);
        }
    }

    /// Keeps a sandbox for the next call, if it may have one.
    fn put(&self, hot: Hot, idle_timeout: Duration) {
        if idle_timeout.is_zero() || !hot.sandbox.is_reusable() {
            return self.reap(hot.sandbox);
        }
        let expires_at = self.shared.clock.monotonic() + idle_timeout;
        let (surplus, evict) = {
            let mut state = self.shared.lock();
            state.idle.push(Idle { hot, expires_at });
            let too_many = state.closed || state.idle.len() > self.hot_max;
            let surplus = too_many.then(|| state.idle.remove(0));
            let evict = !state.closed && state.evicts_at.is_none();
            if evict || state.evicts_at.is_some_and(|at| expires_at < at) {
                state.evicts_at = Some(expires_at);
                self.shared.earlier.notify_one();
            }
            (surplus, evict)
        };
        if let Some(surplus) = surplus {
            self.reap(surplus.hot.sandbox);
        }
        if evict {
            let shared = self.shared.clone();
            self.spawn(async move { shared.evict().await });
        }
    }

    /// Stops a sandbox without being waited for.
    fn reap(&self, sandbox: Box<dyn Sandbox>) {
        self.spawn(sandbox.stop());
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Without a runtime nothing can be awaited; dropping a sandbox is then all that can be done for it.
        let Ok(runtime) = Handle::try_current() else { return };
        let mut tasks = self.tasks.lock().expect("no panic under this lock");
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &runtime);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }

    /// Stops what has idled too long, until nothing idles.
    async fn evict(&self) {
        loop {
            let now = self.clock.monotonic();
            let (expired, next) = {
                let mut state = self.lock();
                let expired: Vec<Idle> = state.idle.extract_if(.., |idle| idle.expires_at <= now).collect();
                state.evicts_at = state.idle.iter().map(|idle| idle.expires_at).min();
                (expired, state.evicts_at)
            };
            join_all(expired.into_iter().map(|idle| idle.hot.sandbox.stop())).await;
            let Some(next) = next else { return };
            tokio::select! { biased;
                () = self.earlier.notified() => {}
                () = self.clock.sleep(next.saturating_sub(now)) => {}
            }
        }
    }
}

/// One run. However it ends, its sandbox is not left behind.
struct Running<'a> {
    pool: &'a Pool,
    hot: Option<Hot>,
}

impl<'a> Running<'a> {
    fn begin(pool: &'a Pool) -> Option<Running<'a>> {
        let mut state = pool.shared.lock();
        if state.closed {
            return None;
        }
        state.running += 1;
        Some(Running { pool, hot: None })
    }

    /// All in one sandbox, as long as it lasts; it is kept for others only when there are no more.
    async fn run_many(&mut self, first: Work, calls: &mut dyn Calls) {
        let idle_timeout = Duration::from_millis(first.version.limits.idle_timeout_ms);
        let mut next = Some(first);
        while let Some(work) = next {
            calls.ended(self.run(&work).await);
            next = match &mut self.hot {
                Some(hot) => hot.sandbox.invoke_many(calls).await,
                None => calls.next(),
            };
            // Which leaves it to the next one to be taken, or reaped if it cannot be used.
            self.keep(idle_timeout);
        }
    }

    /// Its sandbox is in hand afterwards, if there is one that has answered.
    async fn run(&mut self, work: &Work) -> Result<Run, Fault> {
        self.hot = self.pool.take(work);
        if self.hot.is_some() {
            match self.invoke(work).await {
                // It had gone while it idled, the function has seen nothing of the call: a fresh one is due.
                Err(Fault::Function(_)) => {}
                done => return done,
            }
        }
        let sandbox = self.pool.launcher.start(work).await?;
        self.hot = Some(Hot { key: Key::of(work), sandbox });
        self.invoke(work).await
    }

    async fn invoke(&mut self, work: &Work) -> Result<Run, Fault> {
        let hot = self.hot.as_mut().expect("a sandbox was taken or started");
        let done = hot.sandbox.invoke(work).await;
        if done.is_err()
            && let Some(hot) = self.hot.take()
        {
            self.pool.reap(hot.sandbox);
        }
        done
    }

    fn keep(&mut self, idle_timeout: Duration) {
        if let Some(hot) = self.hot.take() {
            self.pool.put(hot, idle_timeout);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(hot) = self.hot.take() {
            self.pool.reap(hot.sandbox);
        }
        let mut state = self.pool.shared.lock();
        state.running -= 1;
        if state.closed && state.running == 0 {
            self.pool.shared.ended.notify_one();
        }
    }
}

#[async_trait]
impl Executor for Pool {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        self.launcher.suits(version)
    }

    async fn run(&self, work: Work) -> Result<Run, Fault> {
        let closed = || Fault::Worker("the executor is closed".to_owned());
        // Listens before it looks, so that a close in between is heard.
        let mut closing = std::pin::pin!(self.closing.notified());
        closing.as_mut().enable();
        let mut running = Running::begin(self).ok_or_else(closed)?;
        tokio::select! { biased;
            () = closing => Err(closed()),
            done = running.run(&work) => {
                running.keep(Duration::from_millis(work.version.limits.idle_timeout_ms));
                done
            }
        }
    }

    async fn run_many(&self, first: Work, calls: &mut dyn Calls) {
        let mut closing = std::pin::pin!(self.closing.notified());
        closing.as_mut().enable();
        let Some(mut running) = Running::begin(self) else { return };
        tokio::select! { biased;
            () = closing => {}
            () = running.run_many(first, calls) => {}
        }
    }

    async fn probe(&self) -> Result<(), String> {
        self.launcher.probe().await
    }

    async fn close(&self) {
        let idle = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        for idle in idle {
            self.reap(idle.hot.sandbox);
        }
        self.closing.notify_waiters();
        let all_ended = async {
            while self.shared.lock().running > 0 {
                self.shared.ended.notified().await;
            }
        };
        // A run whose future is kept but not polled cannot end; it is not waited for for ever.
        let _ = timeout(CLOSE_MAX, all_ended).await;
        self.shared.earlier.notify_one();
        loop {
            let mut tasks = std::mem::take(&mut *self.tasks.lock().expect("no panic under this lock"));
            if tasks.is_empty() {
                break;
            }
            while tasks.join_next().await.is_some() {}
        }
        self.launcher.close().await;
    }
}

#[cfg(test)]
mod tests;
