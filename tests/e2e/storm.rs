//! Many calls while worker after worker is killed or told to end: nothing is lost, nothing has two outcomes.

use std::time::Duration;

use afn::model::State;

use super::proxy::Proxy;
use super::world::{APP, World};
use super::{bucket, harness};

const CALLS: usize = 40;
const ROUNDS: usize = 8;

#[tokio::test]
async fn no_call_is_lost_and_none_has_two_outcomes() {
    let world = World::with_docker("storm").await.without_docker();
    let proxy = Proxy::before(&harness::endpoint()).await;
    world.write("sleepy/func.yaml", "name: sleepy\nversion: 0.0.1\nruntime: shell\ntype: async\n");
    // Some take long enough to be marked, most do not.
    world.write(
        "sleepy/func.sh",
        "n=$(cat)\n[ $((n % 10)) = 0 ] && [ $AFN_ATTEMPT = 1 ] && sleep 3\nsleep 0.$((n % 7))\necho $n\n",
    );
    world.afn_in("sleepy", &format!("deploy --local --app {APP}")).await.ok();
    let mut calls = Vec::new();
    for n in 0..CALLS {
        calls.push(world.submit("sleepy", n.to_string(), "").await);
    }
    let options = "-j 3 --visibility 3s --grace 200ms";
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(world.worker_through(&proxy, options).await);
    }
    for round in 0..ROUNDS {
        for answer in ["PUT /status", "SendMessageBatch", "DeleteMessageBatch", "ReceiveMessage"] {
            proxy.lose_answers(answer, 1);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut worker = workers.remove(0);
        if round % 2 == 0 {
            worker.kill().await;
        } else {
            worker.terminate();
            assert_eq!(worker.ended().await, 0, "{:#?}", worker.lines());
        }
        workers.push(world.worker_through(&proxy, options).await);
    }
    for (n, call) in calls.into_iter().enumerate() {
        let ended = world.wait(call).await;
        assert_eq!(ended["status"], "success", "{ended}");
        assert_eq!(world.result(call).await, format!("{n}\n").into_bytes());
        assert_eq!(bucket::one_outcome(&world, call).await.outcome.status, State::Success);
    }
    world.queue_is_dry().await;
}
