//! A worker that drains: it ends its receives together, and takes nothing that it has just handed back.

use std::sync::Arc;
use std::time::Duration;

use afn::executor::scripted::{Act, Scripted};
use afn::submit::call::submit;
use afn::worker::{Config, Phase, Summary, Worker};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::calm;
use super::play::stage::Stage;
use super::play::world::Process;

struct Running {
    stage: Stage,
    process: Process,
    stop: watch::Sender<Phase>,
    worker: JoinSet<afn::error::Result<Summary>>,
}

/// A worker with two slots and a grace of a second, whose functions take a hundred.
async fn running() -> Running {
    let stage = calm::stage().await;
    let process = stage.world.process("worker");
    let script = |_: &_| Act::answer("").takes(Duration::from_secs(100));
    let executor = Arc::new(Scripted::new(process.clock.clone(), script));
    let mut config = Config::new("worker-1", 2);
    config.grace = Duration::from_secs(1);
    config.reconcile = false;
    let (stop, stopped) = watch::channel(Phase::Run);
    let mut worker = JoinSet::new();
    worker.spawn(Worker::new(process.deps.clone(), executor, config).run(stopped));
    Running { stage, process, stop, worker }
}

impl Running {
    async fn drain(&mut self) -> Summary {
        self.stop.send_replace(Phase::Drain);
        self.worker.join_next().await.expect("a worker").expect("no panic").expect("worked to the end")
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_ends_its_receives_side_by_side() {
    let mut running = running().await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let told = running.stage.world.elapsed();
    running.drain().await;
    let took = running.stage.world.elapsed() - told;
    assert!(took <= Duration::from_millis(500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_back_is_new_to_whoever_takes_it_next() {
    // Of the two slots one is free and a receive is open, or both are taken and a third call waits in line.
    for calls in [1, 3] {
        let mut running = running().await;
        for _ in 0..calls {
            submit(&running.process.deps, calm::call(&running.stage)).await.expect("accepted");
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(running.drain().await, Summary { finished: 0, handed_back: calls.min(2) });
        let queue = running.process.deps.queues.calls.live.clone();
        let received = queue.receive(10, Duration::from_secs(1), Duration::from_secs(60)).await;
        let received = received.expect("a queue");
        let deliveries: Vec<u32> = received.iter().map(|message| message.delivery).collect();
        assert_eq!(deliveries, vec![1; calls as usize]);
    }
}
