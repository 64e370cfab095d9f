//! Hot sandboxes: one that has answered waits for the next call of its version, until it has been idle too long or must
//! make room for others. The pool decides which sandbox runs a call and when one is stopped; its launcher starts it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::sandbox::{Launcher, Sandbox};
use crate::model::{AppName, Config, Function, Version};
use crate::seam::Clock;
use crate::seam::executor::{Calls, Execution, Executor, Fault, Invocation, Mismatch};

/// How long [`Executor::close`] waits for executions whose futures are no longer polled.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// How long it then waits for one more sandbox to stop: a Docker that hangs must not keep a worker that was told to end.
/// What still runs is left to the next worker on this machine.
const STOP_MAX: Duration = Duration::from_secs(10);

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
    state: Mutex<PoolState>,
    /// A sandbox expires earlier than the evictor expects, or all are gone.
    earlier: Notify,
    /// The last execution has ended, after close.
    ended: Notify,
}

#[derive(Default)]
struct PoolState {
    closed: bool,
    running: usize,
    /// With the time at which each expires; the longest unused first.
    idle: Vec<(HotSandbox, Duration)>,
    /// When the evictor looks next; `None` while there is none.
    evicts_at: Option<Duration>,
}

/// A sandbox, and what a call must have in common with the one that it was started for: all that its environment is made
/// of.
struct HotSandbox {
    app: AppName,
    app_config: Arc<Config>,
    function: Arc<Function>,
    version: Arc<Version>,
    sandbox: Box<dyn Sandbox>,
}

impl HotSandbox {
    fn new(invocation: &Invocation, sandbox: Box<dyn Sandbox>) -> HotSandbox {
        let Invocation { app, app_config, function, version, .. } = invocation.clone();
        HotSandbox { app, app_config, function, version, sandbox }
    }

    fn fits(&self, invocation: &Invocation) -> bool {
        let (own, other) = (&*self.function, &*invocation.function);
        self.app == invocation.app
            && (Arc::ptr_eq(&self.version, &invocation.version) || self.version.id == invocation.version.id)
            && (Arc::ptr_eq(&self.function, &invocation.function)
                || (&own.name, own.kind, &own.config) == (&other.name, other.kind, &other.config))
            && (Arc::ptr_eq(&self.app_config, &invocation.app_config)
                || self.app_config == invocation.app_config)
    }
}

impl Pool {
    /// Keeps at most `hot_max` idle sandboxes.
    pub fn new(launcher: Arc<dyn Launcher>, clock: Arc<dyn Clock>, hot_max: usize) -> Pool {
        let shared = Shared { clock, state: Mutex::default(), earlier: Notify::new(), ended: Notify::new() };
        Pool { launcher, shared: Arc::new(shared), tasks: Mutex::default(), closing: Notify::new(), hot_max }
    }

    /// The idle sandbox that was used last. One that has ended meanwhile is removed.
    fn take(&self, invocation: &Invocation) -> Option<HotSandbox> {
        loop {
            let hot = {
                let mut state = self.shared.lock();
                let position = state.idle.iter().rposition(|(hot, _)| hot.fits(invocation))?;
                state.idle.remove(position).0
            };
            if hot.sandbox.is_reusable() {
                return Some(hot);
            }
            self.reap(hot.sandbox);
        }
    }

    /// Keeps a sandbox for the next call, if it may have one.
    fn put(&self, hot: HotSandbox, idle_timeout: Duration) {
        if idle_timeout.is_zero() || !hot.sandbox.is_reusable() {
            return self.reap(hot.sandbox);
        }
        let expires_at = self.shared.clock.monotonic() + idle_timeout;
        let (surplus, evict) = {
            let mut state = self.shared.lock();
            state.idle.push((hot, expires_at));
            let too_many = state.closed || state.idle.len() > self.hot_max;
            let surplus = too_many.then(|| state.idle.remove(0));
            let evict = !state.closed && state.evicts_at.is_none();
            if evict || state.evicts_at.is_some_and(|at| expires_at < at) {
                state.evicts_at = Some(expires_at);
                self.shared.earlier.notify_one();
            }
            (surplus, evict)
        };
        if let Some((surplus, _)) = surplus {
            self.reap(surplus.sandbox);
        }
        if evict {
            let shared = self.shared.clone();
            self.spawn(async move { shared.evict().await });
        }
    }

    /// Stops a sandbox in the background.
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
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().expect("no panic under this lock")
    }

    /// Stops what has idled too long, until nothing idles.
    async fn evict(&self) {
        loop {
            let now = self.clock.monotonic();
            let (expired, next) = {
                let mut state = self.lock();
                let expired: Vec<_> =
                    state.idle.extract_if(.., |(_, expires_at)| *expires_at <= now).collect();
                state.evicts_at = state.idle.iter().map(|(_, expires_at)| *expires_at).min();
                (expired, state.evicts_at)
            };
            join_all(expired.into_iter().map(|(hot, _)| hot.sandbox.stop())).await;
            let Some(next) = next else { return };
            tokio::select! { biased;
                () = self.earlier.notified() => {}
                () = self.clock.sleep(next.saturating_sub(now)) => {}
            }
        }
    }
}

/// One execution. However it ends, its sandbox is kept or stopped.
struct Running<'a> {
    pool: &'a Pool,
    hot: Option<HotSandbox>,
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

    /// Runs all calls in one sandbox as long as it lasts, and then keeps it for others.
    async fn run_many(&mut self, first: Invocation, calls: &mut dyn Calls) {
        let idle_timeout = Duration::from_millis(first.version.limits.idle_timeout_ms);
        let mut next = Some(first);
        while let Some(invocation) = next {
            calls.ended(self.run(&invocation).await);
            next = match &mut self.hot {
                Some(hot) => hot.sandbox.invoke_many(calls).await,
                None => calls.next(),
            };
            // The next call takes it again, unless it cannot be used any more.
            self.keep(idle_timeout);
        }
    }

    /// Afterwards `hot` is the sandbox that has answered, if any.
    async fn run(&mut self, invocation: &Invocation) -> Result<Execution, Fault> {
        self.hot = self.pool.take(invocation);
        if self.hot.is_some() {
            match self.invoke(invocation).await {
                // It ended while it was idle, and the function has seen nothing of the call: start another.
                Err(Fault::Function(_)) => {}
                ended => return ended,
            }
        }
        let sandbox = self.pool.launcher.start(invocation).await?;
        self.hot = Some(HotSandbox::new(invocation, sandbox));
        self.invoke(invocation).await
    }

    async fn invoke(&mut self, invocation: &Invocation) -> Result<Execution, Fault> {
        let hot = self.hot.as_mut().expect("a sandbox was taken or started");
        let ended = hot.sandbox.invoke(invocation).await;
        if ended.is_err()
            && let Some(hot) = self.hot.take()
        {
            self.pool.reap(hot.sandbox);
        }
        ended
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

    async fn run(&self, invocation: Invocation) -> Result<Execution, Fault> {
        let closed = || Fault::Worker("the executor is closed".to_owned());
        // Before the check for a closed pool, so that a close in between is noticed.
        let mut closing = std::pin::pin!(self.closing.notified());
        closing.as_mut().enable();
        let mut running = Running::begin(self).ok_or_else(closed)?;
        tokio::select! { biased;
            () = closing => Err(closed()),
            done = running.run(&invocation) => {
                running.keep(Duration::from_millis(invocation.version.limits.idle_timeout_ms));
                done
            }
        }
    }

    async fn run_many(&self, first: Invocation, calls: &mut dyn Calls) {
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
        for (hot, _) in idle {
            self.reap(hot.sandbox);
        }
        self.closing.notify_waiters();
        let all_ended = async {
            while self.shared.lock().running > 0 {
                self.shared.ended.notified().await;
            }
        };
        // An execution whose future is kept but not polled cannot end.
        let _ = timeout(CLOSE_MAX, all_ended).await;
        self.shared.earlier.notify_one();
        let mut gives_up_at = Instant::now() + STOP_MAX;
        loop {
            let mut tasks = std::mem::take(&mut *self.tasks.lock().expect("no panic under this lock"));
            if tasks.is_empty() {
                break;
            }
            while let Ok(Some(_)) = timeout_at(gives_up_at, tasks.join_next()).await {
                gives_up_at = Instant::now() + STOP_MAX;
            }
        }
        let _ = timeout_at(gives_up_at, self.launcher.close()).await;
    }
}

#[cfg(test)]
mod tests;
