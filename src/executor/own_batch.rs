//! An executor for the calls of one batch: the worker of `batch run` in a context that its user shares with others. There
//! other users may store versions, change config and submit calls, and this machine and its user's rights are not theirs.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;

use crate::model::{AppName, BatchId, Config, Function, FunctionName, Version};
use crate::seam::executor::{Calls, Execution, Executor, Fault, Invocation, Mismatch, Work};

/// A batch of the worker's own user.
pub struct OwnBatch {
    pub app: AppName,
    pub function: FunctionName,
    /// Compared as a whole: an id has few digits, and other functions may have the same one.
    pub version: Version,
    config: BatchConfig,
    batch: OnceLock<BatchId>,
}

/// The config of a batch's app and function as it was when the batch began: other users may change it while the batch runs.
#[derive(Default)]
pub struct BatchConfig {
    pub app: Arc<Config>,
    pub function: Config,
}

impl OwnBatch {
    pub fn new(app: AppName, function: FunctionName, version: Version, config: BatchConfig) -> OwnBatch {
        OwnBatch { app, function, version, config, batch: OnceLock::new() }
    }

    /// To be called before the first message of the batch is sent. Until then nothing is its own.
    pub fn begin(&self, batch: BatchId) {
        let _ = self.batch.set(batch);
    }

    fn check(&self, work: &Work<'_>) -> Result<(), Mismatch> {
        let is_own = work.batch.is_some_and(|batch| self.batch.get() == Some(&batch))
            && (work.app, work.function) == (&self.app, &self.function)
            && work.version.is_same_content(&self.version);
        is_own
            .then_some(())
            .ok_or_else(|| Mismatch("this worker runs the calls of its own batch only".to_owned()))
    }

    /// A call of this batch, with the batch's config.
    fn adopt(&self, invocation: Invocation) -> Result<Invocation, Mismatch> {
        self.check(&Work::of(&invocation))?;
        let function = Function { config: self.config.function.clone(), ..(*invocation.function).clone() };
        Ok(Invocation { app_config: self.config.app.clone(), function: function.into(), ..invocation })
    }
}

/// Around all executors of a worker, so that no hot sandbox is given to another call either.
pub struct OwnBatchOnly {
    pub executor: Arc<dyn Executor>,
    pub own: Arc<OwnBatch>,
}

#[async_trait]
impl Executor for OwnBatchOnly {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        self.executor.suits(version)
    }

    fn serves(&self, work: &Work<'_>) -> bool {
        self.own.check(work).is_ok()
    }

    fn accepts(&self, work: &Work<'_>) -> Result<(), Mismatch> {
        self.own.check(work)?;
        self.executor.accepts(work)
    }

    async fn run(&self, invocation: Invocation) -> Result<Execution, Fault> {
        self.executor.run(self.own.adopt(invocation).map_err(Fault::Mismatch)?).await
    }

    async fn run_many(&self, first: Invocation, calls: &mut dyn Calls) {
        match self.own.adopt(first) {
            Ok(first) => self.executor.run_many(first, &mut OwnCalls { own: &self.own, calls }).await,
            Err(mismatch) => calls.ended(Err(Fault::Mismatch(mismatch))),
        }
    }

    async fn probe(&self) -> Result<(), String> {
        self.executor.probe().await
    }

    async fn close(&self) {
        self.executor.close().await;
    }
}

struct OwnCalls<'a> {
    own: &'a OwnBatch,
    calls: &'a mut dyn Calls,
}

impl Calls for OwnCalls<'_> {
    fn next(&mut self) -> Option<Invocation> {
        loop {
            match self.own.adopt(self.calls.next()?) {
                Ok(invocation) => return Some(invocation),
                Err(mismatch) => self.calls.ended(Err(Fault::Mismatch(mismatch))),
            }
        }
    }

    fn ended(&mut self, execution: Result<Execution, Fault>) {
        self.calls.ended(execution);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::contract::testing;
    use crate::executor::scripted::{Act, Scripted};
    use crate::model::{Format, Time};
    use crate::seam::clock::SystemClock;

    fn batch(random: u128) -> BatchId {
        BatchId::new(Time(1), random << 40)
    }

    fn call(batch: BatchId) -> Invocation {
        Invocation { call: batch.call(1), ..testing::invocation(Format::Default, b"") }
    }

    /// Each is what another user of the context can make of the call: by a call of their own, a function, a version that has
    /// this id, or a batch of this function.
    fn foreign(own: &Invocation) -> [Invocation; 5] {
        let (mut function, mut version) = ((*own.function).clone(), (*own.version).clone());
        function.name = "other".parse().unwrap();
        version.command = vec!["evil".to_owned()];
        [
            Invocation { call: testing::invocation(Format::Default, b"").call, ..own.clone() },
            Invocation { app: "other".parse().unwrap(), ..own.clone() },
            Invocation { function: function.into(), ..own.clone() },
            Invocation { version: version.into(), ..own.clone() },
            Invocation { call: batch(9).call(1), ..own.clone() },
        ]
    }

    /// Runs everything, and answers with the config that it was given.
    fn only(own: &Invocation) -> OwnBatchOnly {
        let show = |work: &Invocation| format!("{:?} {:?}", work.app_config, work.function.config);
        let executor = Scripted::new(Arc::new(SystemClock), move |work| Act::error(show(work)));
        let (app, version) = (own.app.clone(), Version { created_at: Time(77), ..(*own.version).clone() });
        let config = BatchConfig { app: own.app_config.clone(), function: own.function.config.clone() };
        let batch = OwnBatch::new(app, own.function.name.clone(), version, config);
        OwnBatchOnly { executor: Arc::new(executor), own: batch.into() }
    }

    struct Queue(Vec<Invocation>, Mutex<Vec<bool>>);

    impl Calls for Queue {
        fn next(&mut self) -> Option<Invocation> {
            self.0.pop()
        }

        fn ended(&mut self, execution: Result<Execution, Fault>) {
            self.1.get_mut().unwrap().push(execution.is_ok());
        }
    }

    #[tokio::test]
    async fn nothing_runs_that_is_not_of_the_own_batch() {
        let own = call(batch(7));
        let only = only(&own);
        let expected = Mismatch("this worker runs the calls of its own batch only".to_owned());
        assert_eq!(only.accepts(&Work::of(&own)), Err(expected.clone()), "it is not submitted yet");
        only.own.begin(batch(7));
        only.accepts(&Work::of(&own)).unwrap();
        only.run(own.clone()).await.unwrap();
        for foreign in foreign(&own) {
            assert_eq!(only.accepts(&Work::of(&foreign)), Err(expected.clone()), "{foreign:?}");
            assert_eq!(only.run(foreign).await.unwrap_err(), Fault::Mismatch(expected.clone()));
        }
        let mut calls = Queue(foreign(&own).into(), Mutex::default());
        calls.0.insert(2, own.clone());
        only.run_many(own, &mut calls).await;
        assert_eq!(*calls.1.get_mut().unwrap(), [true, false, false, false, true, false, false]);
    }

    #[tokio::test]
    async fn config_that_is_changed_while_the_batch_runs_has_no_effect() {
        let mut own = call(batch(7));
        Arc::make_mut(&mut own.app_config).insert("A".to_owned(), "mine".to_owned());
        let only = only(&own);
        only.own.begin(batch(7));
        Arc::make_mut(&mut own.app_config).insert("A".to_owned(), "theirs".to_owned());
        Arc::make_mut(&mut own.function).config.insert("PATH".to_owned(), "/theirs".to_owned());
        let ended = only.run(own).await.unwrap();
        let crate::seam::executor::Verdict::Error { reason } = ended.verdict else { panic!("{ended:?}") };
        assert_eq!(reason, r#"{"A": "mine"} {}"#);
    }
}
