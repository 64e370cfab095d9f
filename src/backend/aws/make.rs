//! Makes the bucket and the queues that a context stands on, where they are missing. What is there is left as it is.

use std::collections::BTreeMap;

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    CreateBucketConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
    PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use aws_sdk_sqs::types::QueueAttributeName;

use super::config::Connection;
use super::errors::{Answer, Failure};
use crate::error::{Error, Result};
use crate::limits;

/// Parts of an upload that nobody will finish are not shown, but paid for.
const ABANDONED_UPLOAD_DAYS: i32 = 1;
/// The one region that must not be named when a bucket is made.
const FIRST_REGION: &str = "us-east-1";

/// Whether it was made now, or was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    Now,
    Before,
}

/// A bucket that nobody outside may read, encrypted, with one rule of lifecycle: unfinished uploads go. Deletion of
/// objects is the engine's.
pub async fn bucket(connection: &Connection, bucket: &str) -> Result<Made> {
    let named =
        |failure: Failure| Error::from(failure.at(&connection.address)).context(format!("bucket `{bucket}`"));
    match connection.s3.head_bucket().bucket(bucket).send().await.map_err(Failure::from) {
        Ok(_) => return Ok(Made::Before),
        Err(Failure::Answer(Answer { status: 404, .. })) => {}
        Err(Failure::Answer(Answer { status: 301, .. })) => {
            return Err(Error::invalid(format!(
                "bucket `{bucket}` is in another region than {}",
                connection.region
            ))
            .hint("give its region with `--region`, or choose another name"));
        }
        Err(Failure::Answer(Answer { status: 403, .. })) => {
            return Err(Error::invalid(format!("bucket `{bucket}` is not open to these credentials"))
                .hint("it may belong to somebody else: choose another name"));
        }
        Err(failure) => return Err(named(failure)),
    }
    let place = (connection.region != FIRST_REGION).then(|| {
        let region = BucketLocationConstraint::from(connection.region.as_str());
        CreateBucketConfiguration::builder().location_constraint(region).build()
    });
    let create = connection.s3.create_bucket().bucket(bucket).set_create_bucket_configuration(place);
    match create.send().await.map_err(Failure::from) {
        Ok(_) => {}
        Err(Failure::Answer(answer)) if answer.code == "BucketAlreadyOwnedByYou" => return Ok(Made::Before),
        Err(Failure::Answer(answer)) if answer.code == "BucketAlreadyExists" => {
            return Err(Error::conflict(format!("bucket `{bucket}` belongs to somebody else"))
                .hint("names of buckets are shared by all accounts: choose another"));
        }
        Err(failure) => return Err(named(failure)),
    }
    settle(connection, bucket).await.map_err(named)?;
    Ok(Made::Now)
}

async fn settle(connection: &Connection, bucket: &str) -> Result<(), Failure> {
    let broken = |error: aws_sdk_s3::error::BuildError| Failure::Impossible(error.to_string());
    let private = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    let request = connection.s3.put_public_access_block().bucket(bucket);
    request.public_access_block_configuration(private).send().await?;

    let by_default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(ServerSideEncryption::Aes256)
        .build()
        .map_err(broken)?;
    let rule =
        ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(by_default).build();
    let encrypted = ServerSideEncryptionConfiguration::builder().rules(rule).build().map_err(broken)?;
    let request = connection.s3.put_bucket_encryption().bucket(bucket);
    request.server_side_encryption_configuration(encrypted).send().await?;

    let abandoned =
        AbortIncompleteMultipartUpload::builder().days_after_initiation(ABANDONED_UPLOAD_DAYS).build();
    let rule = LifecycleRule::builder()
        .id("abandoned-uploads")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .abort_incomplete_multipart_upload(abandoned)
        .build()
        .map_err(broken)?;
    let lifecycle = BucketLifecycleConfiguration::builder().rules(rule).build().map_err(broken)?;
    let request = connection.s3.put_bucket_lifecycle_configuration().bucket(bucket);
    request.lifecycle_configuration(lifecycle).send().await?;
    Ok(())
}

/// A queue of dead letters: it keeps them as long as SQS can.
pub async fn dead_queue(connection: &Connection, name: &str) -> Result<Made> {
    let made = async {
        if url(connection, name).await?.is_some() {
            return Ok(Made::Before);
        }
        create(
            connection,
            name,
            [(QueueAttributeName::MessageRetentionPeriod, seconds(limits::RETENTION_MS))],
        )
        .await
    };
    made.await.map_err(|failure| Error::from(failure).context(format!("queue `{name}`")))
}

/// A queue whose messages end in the queue `dead`, once it has delivered them too often.
pub async fn live_queue(connection: &Connection, name: &str, dead: &str) -> Result<Made> {
    let made = async {
        let redrive = redrive(connection, dead).await?;
        let Some(url) = url(connection, name).await? else {
            let attributes = [
                (QueueAttributeName::MessageRetentionPeriod, seconds(limits::RETENTION_MS)),
                (QueueAttributeName::VisibilityTimeout, seconds(limits::VISIBILITY_MS)),
                (QueueAttributeName::RedrivePolicy, redrive),
            ];
            return create(connection, name, attributes).await;
        };
        if attribute(connection, &url, QueueAttributeName::RedrivePolicy).await?.is_some() {
            return Ok(Made::Before);
        }
        let request = connection.sqs.set_queue_attributes().queue_url(url);
        request.attributes(QueueAttributeName::RedrivePolicy, redrive).send().await?;
        Ok(Made::Now)
    };
    made.await.map_err(|failure: Failure| {
        Error::from(failure.at(&connection.address)).context(format!("queue `{name}`"))
    })
}

async fn create<const N: usize>(
    connection: &Connection,
    name: &str,
    attributes: [(QueueAttributeName, String); N],
) -> Result<Made, Failure> {
    let request = connection.sqs.create_queue().queue_name(name);
    request.set_attributes(Some(attributes.into_iter().collect())).send().await?;
    Ok(Made::Now)
}

async fn redrive(connection: &Connection, dead: &str) -> Result<String, Failure> {
    let missing = || Failure::Impossible(format!("there is no queue `{dead}` for its dead letters"));
    let url = url(connection, dead).await?.ok_or_else(missing)?;
    let arn = attribute(connection, &url, QueueAttributeName::QueueArn).await?.ok_or_else(missing)?;
    let policy = BTreeMap::from([
        ("deadLetterTargetArn", serde_json::Value::from(arn)),
        ("maxReceiveCount", limits::RECEIVE_COUNT_MAX.into()),
    ]);
    Ok(serde_json::to_string(&policy).expect("a policy has string keys"))
}

async fn url(connection: &Connection, name: &str) -> Result<Option<String>, Failure> {
    if super::sqs::is_url(name) {
        return Ok(Some(name.to_owned()));
    }
    match connection.sqs.get_queue_url().queue_name(name).send().await.map_err(Failure::from) {
        Ok(got) => Ok(got.queue_url),
        Err(Failure::Answer(answer)) if answer.is_no_queue() => Ok(None),
        Err(failure) => Err(failure),
    }
}

async fn attribute(
    connection: &Connection,
    url: &str,
    name: QueueAttributeName,
) -> Result<Option<String>, Failure> {
    let request = connection.sqs.get_queue_attributes().queue_url(url).attribute_names(name.clone());
    let attributes = request.send().await?.attributes;
    Ok(attributes.and_then(|mut attributes| attributes.remove(&name)))
}

fn seconds(ms: u64) -> String {
    (ms / 1_000).to_string()
}
