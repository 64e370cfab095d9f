//! On the bucket and the queues that the core stack of `infra/` makes, found by the stack's name alone.

use super::command::{self, Running};
use super::world::{APP, World};
use super::{bucket, fixtures, harness, images};

#[tokio::test]
async fn a_context_from_the_core_stack_runs_calls() {
    let draft = harness::draft("core");
    let stack = draft.queues.calls.trim_end_matches("-calls").to_owned();
    harness::deploy(&draft, &stack).await;
    let endpoint = draft.endpoint.clone().expect("an endpoint");
    let mut world = World::in_docker(draft);
    let command = |line: &str| {
        let mut command = tokio::process::Command::from(world.bare_command());
        command.args(line.split_whitespace());
        command
    };
    let afn = async |line: &str| command::run(command(line), b"").await;
    let options = format!("--kind localstack --endpoint {endpoint} --from-stack {stack} -o json");
    let made = afn(&format!("context create core {options}")).await.json();
    afn("context use core").await.ok();

    let image = images::busybox().await;
    afn(&format!("create function {APP} /sh {image} --type async")).await.ok();
    let mut worker = Running::start(command("worker -j 1"));
    worker.said("at once").await;
    let mut submit = command(&format!("submit {APP} /sh"));
    submit.env("USER", "somebody");
    let submitted = command::run(submit, b"echo from the stack; echo logged >&2").await.ok();
    let call = submitted.trim().parse().expect("an id");
    assert_eq!(afn(&format!("wait {call}")).await.code, 0);
    assert_eq!(afn(&format!("get result {APP} {call}")).await.ok(), "from the stack\n");
    assert_eq!(afn(&format!("get logs {APP} {call}")).await.ok(), "logged\n");
    worker.terminate();
    assert_eq!(worker.ended().await, 0, "{:#?}", worker.lines());
    let checked = afn("doctor").await;
    assert_eq!(checked.code, 0, "{}{}", checked.stdout, checked.stderr);

    world.context = serde_json::from_value(made).expect("a context");
    bucket::one_outcome(&world, call).await;
    let queues = world.open().await.deps.queues;
    fixtures::eventually("the queue is dry", async || {
        queues.calls.live.depth().await.expect("a depth").is_dry()
    })
    .await;
}
