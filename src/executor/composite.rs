//! Several executors as one: a worker with Docker and child processes runs images in the one and archives in the other.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::sandbox::{CONTAINERS_ONLY, NEEDS_DOCKER};
use crate::model::Version;
use crate::seam::executor::{Calls, Execution, Executor, Fault, Invocation, Mismatch};

/// Asks the first that suits.
pub struct Composite(Vec<Arc<dyn Executor>>);

impl Composite {
    pub fn new(executors: Vec<Arc<dyn Executor>>) -> Composite {
        Composite(executors)
    }

    fn choose(&self, version: &Version) -> Result<&Arc<dyn Executor>, Mismatch> {
        let mut reasons: Vec<String> = Vec::new();
        for executor in &self.0 {
            match executor.suits(version) {
                Ok(()) => return Ok(executor),
                Err(Mismatch(reason)) => reasons.push(reason),
            }
        }
        reasons.dedup();
        // Another one would run it, if it suited.
        if reasons.len() > 1 {
            reasons.retain(|reason| reason != CONTAINERS_ONLY && !reason.ends_with(NEEDS_DOCKER));
        }
        match reasons.is_empty() {
            true => Err(Mismatch("this worker has no executor".to_owned())),
            false => Err(Mismatch(reasons.join("; "))),
        }
    }
}

#[async_trait]
impl Executor for Composite {
    fn suits(&self, version: &Version) -> Result<(), Mismatch> {
        self.choose(version).map(drop)
    }

    async fn run(&self, invocation: Invocation) -> Result<Execution, Fault> {
        self.choose(&invocation.version).map_err(Fault::Mismatch)?.run(invocation).await
    }

    async fn run_many(&self, first: Invocation, calls: &mut dyn Calls) {
        match self.choose(&first.version) {
            Ok(executor) => executor.run_many(first, calls).await,
            Err(mismatch) => calls.ended(Err(Fault::Mismatch(mismatch))),
        }
    }

    /// Every one must be well: a worker that is half sick would go on taking calls that it can only put back.
    async fn probe(&self) -> Result<(), String> {
        let probes = join_all(self.0.iter().map(|executor| executor.probe())).await;
        let sick: Vec<String> = probes.into_iter().filter_map(Result::err).collect();
        if sick.is_empty() { Ok(()) } else { Err(sick.join("; ")) }
    }

    async fn close(&self) {
        join_all(self.0.iter().map(|executor| executor.close())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use super::*;
    use crate::contract::testing;
    use crate::model::Format;

    struct Only {
        format: Format,
        sick: bool,
        closed: AtomicBool,
    }

    #[async_trait]
    impl Executor for Only {
        fn suits(&self, version: &Version) -> Result<(), Mismatch> {
            match version.format == self.format {
                true => Ok(()),
                false => Err(Mismatch(format!("speaks {} alone", self.format))),
            }
        }

        async fn run(&self, _work: Invocation) -> Result<Execution, Fault> {
            Err(Fault::Function(self.format.to_string()))
        }

        async fn probe(&self) -> Result<(), String> {
            if self.sick { Err(format!("{} is sick", self.format)) } else { Ok(()) }
        }

        async fn close(&self) {
            self.closed.store(true, SeqCst);
        }
    }

    fn only(format: Format, sick: bool) -> Arc<Only> {
        Arc::new(Only { format, sick, closed: false.into() })
    }

    #[tokio::test]
    async fn the_first_that_suits_runs_it_and_all_are_closed() {
        let (a, b) = (only(Format::Default, false), only(Format::HttpStream, true));
        let both = Composite::new(vec![a.clone(), b.clone()]);
        for format in [Format::Default, Format::HttpStream] {
            let invocation = testing::invocation(format, b"");
            both.suits(&invocation.version).unwrap();
            assert_eq!(both.run(invocation).await.unwrap_err(), Fault::Function(format.to_string()));
        }
        assert_eq!(both.probe().await.unwrap_err(), "http-stream is sick");
        both.close().await;
        assert!(a.closed.load(SeqCst) && b.closed.load(SeqCst));
    }

    struct Says(String);

    #[async_trait]
    impl Executor for Says {
        fn suits(&self, _version: &Version) -> Result<(), Mismatch> {
            Err(Mismatch(self.0.clone()))
        }

        async fn run(&self, _work: Invocation) -> Result<Execution, Fault> {
            Err(Fault::Function("it ran what does not suit".to_owned()))
        }

        async fn probe(&self) -> Result<(), String> {
            Ok(())
        }

        async fn close(&self) {}
    }

    /// What the other executor is for says nothing to a user who could start neither.
    #[test]
    fn a_worker_with_both_says_what_its_right_one_lacks() {
        let version = &testing::invocation(Format::Default, b"").version;
        let why = |reasons: &[&str]| {
            let all = reasons.iter().map(|why| Arc::new(Says((*why).to_owned())) as Arc<dyn Executor>);
            Composite::new(all.collect()).suits(version).unwrap_err().0
        };
        let needs_docker = format!("image `f:1` {NEEDS_DOCKER}");
        assert_eq!(why(&[CONTAINERS_ONLY, "built for linux/s390x"]), "built for linux/s390x");
        assert_eq!(why(&["linux/s390x image", &needs_docker]), "linux/s390x image");
        assert_eq!(why(&[CONTAINERS_ONLY]), CONTAINERS_ONLY);
        assert_eq!(why(&[&needs_docker]), needs_docker);
    }

    #[tokio::test]
    async fn a_mismatch_of_all_says_why_for_each() {
        let invocation = testing::invocation(Format::HttpStream, b"");
        let none = Composite::new(Vec::new()).suits(&invocation.version).unwrap_err();
        assert_eq!(none.to_string(), "this worker has no executor");
        let one = Composite::new(vec![only(Format::Default, false)]).run(invocation).await.unwrap_err();
        assert_eq!(one, Fault::Mismatch(Mismatch("speaks default alone".to_owned())));
    }
}
