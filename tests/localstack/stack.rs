//! The core stack of `infra/`, deployed on LocalStack's CloudFormation, and the contracts on what it makes.

use afn::context;
use afn::layout::Key;
use afn::seam::store::PutObject;
use aws_sdk_sqs::types::QueueAttributeName;

use super::conformance::queue_stand;
use super::harness;
use super::suite::queue::{self, QueueStand};
use super::suite::store::{self, StoreStand};

#[tokio::test]
async fn the_store_of_a_stack_keeps_the_contract() {
    let context = harness::deployed("stack").await;
    let store = harness::open(&context).await.deps.store;
    let stand = |name: &str| StoreStand { root: format!("{name}/"), ..StoreStand::new(store.clone()) };
    store::creates_race_for_one_winner(&stand("race")).await;
    store::a_replace_wants_the_etag_that_stands(&stand("replace")).await;
    store::replaces_race_for_one_winner(&stand("replaces")).await;
    store::ranges_name_what_there_is_of_them(&stand("ranges")).await;
    store::what_was_never_written_is_not_found(&stand("missing")).await;
    store::content_type_and_metadata_ride_on_the_object(&stand("note")).await;
    store::groups_go_on_page_by_page(&stand("groups")).await;
    store::a_delete_removes_and_does_not_mind_what_is_gone(&stand("delete")).await;
}

#[tokio::test]
async fn the_queues_of_a_stack_keep_the_contract() {
    let context = harness::deployed("stack").await;
    let queues = harness::open(&context).await.deps.queues;
    for (_, lane) in queues.all() {
        for one in [&lane.live, &lane.dead] {
            queue::a_message_comes_once_and_goes(&queue_stand(one.clone())).await;
            queue::ten_are_sent_at_once_and_eleven_refused(&queue_stand(one.clone())).await;
        }
    }
    // Each leaves something behind.
    let stands: [QueueStand; 4] =
        [&queues.calls.live, &queues.chunks.live, &queues.batches.live, &queues.calls.dead]
            .map(|queue| queue_stand(queue.clone()));
    queue::a_lapsed_lease_brings_the_message_back(&stands[0]).await;
    queue::a_lease_extended_to_zero_ends(&stands[1]).await;
    queue::a_long_poll_wakes_on_a_send(&stands[2]).await;
    queue::metadata_travels_and_groups_do_not_hold_up(&stands[3]).await;
}

#[tokio::test]
async fn a_stack_makes_what_create_makes() {
    let deployed = harness::deployed("stack").await;
    let created = harness::made("created").await;
    let steps = context::create(&deployed).await.unwrap();
    let mut made = steps.iter().filter(|step| step.made).map(|step| step.what.as_str());
    assert!(
        made.all(|what| what.starts_with("store ")),
        "nothing is missing but the id of the store: {steps:?}"
    );
    let sqs = harness::connect(&deployed).await.sqs;
    let settings = |name: String| {
        let sqs = sqs.clone();
        async move {
            let url = sqs.get_queue_url().queue_name(&name).send().await.unwrap().queue_url.unwrap();
            let all = sqs.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
            let mut attributes = all.send().await.unwrap().attributes.unwrap();
            let mut setting = |name: QueueAttributeName| attributes.remove(&name);
            let redrive = setting(QueueAttributeName::RedrivePolicy).map(|policy| {
                let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
                let target = policy["deadLetterTargetArn"].as_str().unwrap().rsplit(':').next().unwrap();
                (target == format!("{name}-dead"), policy["maxReceiveCount"].to_string().replace('"', ""))
            });
            let retention = setting(QueueAttributeName::MessageRetentionPeriod).unwrap();
            let visibility = setting(QueueAttributeName::VisibilityTimeout).unwrap();
            (redrive, retention, visibility)
        }
    };
    let (d, c) = (&deployed.queues, &created.queues);
    for (deployed, created) in [(&d.calls, &c.calls), (&d.chunks, &c.chunks), (&d.batches, &c.batches)] {
        let live = settings(deployed.clone()).await;
        let expected = (Some((true, "1000".to_owned())), "1209600".to_owned(), "60".to_owned());
        assert_eq!(live, expected, "{deployed}");
        assert_eq!(settings(created.clone()).await, expected, "{created}");
        for name in [deployed, created] {
            let (redrive, retention, _) = settings(format!("{name}-dead")).await;
            assert_eq!((redrive, retention), (None, "1209600".to_owned()), "{name}-dead");
        }
    }
}

#[tokio::test]
async fn a_stack_without_a_prefix_has_none() {
    let mut context = harness::draft("plain");
    context.prefix = String::new();
    let stack = harness::unique("plain");
    harness::deploy(&context, &stack).await;
    context.prefix = "to be replaced".to_owned();
    let context = context::from_stack(context, &stack).await.unwrap();
    assert_eq!(context.prefix, "");
    assert_eq!(context.queues.calls, format!("{stack}-calls"));
    let store = harness::open(&context).await.deps.store;
    store.put(&Key::text("apps/a/app"), PutObject::create("x")).await.unwrap();
}

/// Else a green stack would say nothing.
#[tokio::test]
async fn what_localstack_does_not_make_is_noticed() {
    let template = "Resources: {Cluster: {Type: AWS::ECS::Cluster}}";
    let stack = harness::unique("unknown");
    let deployed = harness::deploy_template(&harness::draft("unknown"), &stack, template, vec![]).await;
    assert!(deployed.is_err_and(|why| why.contains("not supported")));
}

#[tokio::test]
async fn a_stack_that_is_not_there_is_named() {
    let error = context::from_stack(harness::draft("absent"), "no-such-stack").await.unwrap_err();
    assert_eq!(error.message(), "there is no stack `no-such-stack` in us-east-1");
}
