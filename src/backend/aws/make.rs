//! Creates the bucket and the queues of a context, where they are missing. Existing ones are left as they are.

use std::time::Duration;

use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint,
    CreateBucketConfiguration, ExpirationStatus, LifecycleRule, LifecycleRuleFilter,
    PublicAccessBlockConfiguration, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;

use super::config::Connection;
use super::errors::{Answer, Failure, refused};
use crate::error::{Error, Result};
use crate::limits;

/// Parts of an upload that nobody will finish are not shown, but paid for.
const ABANDONED_UPLOAD_DAYS: i32 = 1;
/// The one region that must not be named when a bucket is made.
const FIRST_REGION: &str = "us-east-1";

/// Creates a private, encrypted bucket with one lifecycle rule: unfinished uploads are deleted. The engine deletes
/// objects. False: the bucket exists already.
pub async fn bucket(connection: &Connection, bucket: &str) -> Result<bool> {
    let named = |failure: Failure| {
        Error::from(failure.at(&connection.endpoint)).context(format!("bucket `{bucket}`"))
    };
    match connection.s3.head_bucket().bucket(bucket).send().await.map_err(Failure::from) {
        Ok(_) => return Ok(false),
        Err(Failure::Answer(Answer { status: 404, .. })) => {}
        Err(Failure::Answer(Answer { status: 301, .. })) => {
            return Err(Error::invalid(format!(
                "bucket `{bucket}` is in another region than {}",
                connection.region
            ))
            .with_hint("give its region with `--region`, or choose another name"));
        }
        Err(Failure::Answer(Answer { status: 403, .. })) => {
            return Err(Error::invalid(format!("bucket `{bucket}` is not open to these credentials"))
                .with_hint("it may belong to somebody else: choose another name"));
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
        Err(Failure::Answer(answer)) if answer.code == "BucketAlreadyOwnedByYou" => return Ok(false),
        Err(Failure::Answer(answer)) if answer.code == "BucketAlreadyExists" => {
            return Err(Error::conflict(format!("bucket `{bucket}` belongs to somebody else"))
                .with_hint("names of buckets are shared by all accounts: choose another"));
        }
        Err(failure) => return Err(named(failure)),
    }
    settle(connection, bucket).await.map_err(named)?;
    Ok(true)
}

async fn settle(connection: &Connection, bucket: &str) -> Result<(), Failure> {
    let private = PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build();
    let request = connection.s3.put_public_access_block().bucket(bucket);
    request.public_access_block_configuration(private).send().await?;

    let by_default =
        ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256).build()?;
    let rule =
        ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(by_default).build();
    let encrypted = ServerSideEncryptionConfiguration::builder().rules(rule).build()?;
    let request = connection.s3.put_bucket_encryption().bucket(bucket);
    request.server_side_encryption_configuration(encrypted).send().await?;

    let abandoned =
        AbortIncompleteMultipartUpload::builder().days_after_initiation(ABANDONED_UPLOAD_DAYS).build();
    let rule = LifecycleRule::builder()
        .id("abandoned-uploads")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("").build())
        .abort_incomplete_multipart_upload(abandoned)
        .build()?;
    let lifecycle = BucketLifecycleConfiguration::builder().rules(rule).build()?;
    let request = connection.s3.put_bucket_lifecycle_configuration().bucket(bucket);
    request.lifecycle_configuration(lifecycle).send().await?;
    Ok(())
}

/// Creates a queue that keeps messages as long as SQS can. Messages that were delivered too often go to the queue `dead`.
/// False: the queue exists already.
pub async fn queue(connection: &Connection, name: &str, dead: Option<&str>) -> Result<bool> {
    let made = async {
        let redrive = match dead {
            Some(dead) => Some(redrive(connection, dead).await?),
            None => None,
        };
        let Some(url) = url(connection, name).await? else {
            let seconds = |time: Duration| time.as_secs().to_string();
            let retention = seconds(limits::RETENTION);
            let mut create = connection.sqs.create_queue().queue_name(name);
            create = create.attributes(QueueAttributeName::MessageRetentionPeriod, retention);
            if let Some(redrive) = redrive {
                create =
                    create.attributes(QueueAttributeName::VisibilityTimeout, seconds(limits::VISIBILITY));
                create = create.attributes(QueueAttributeName::RedrivePolicy, redrive);
            }
            create.send().await?;
            return Ok(true);
        };
        let Some(redrive) = redrive else { return Ok(false) };
        if attribute(connection, &url, QueueAttributeName::RedrivePolicy).await?.is_some() {
            return Ok(false);
        }
        let request = connection.sqs.set_queue_attributes().queue_url(url);
        request.attributes(QueueAttributeName::RedrivePolicy, redrive).send().await?;
        Ok(true)
    };
    made.await.map_err(|failure: Failure| {
        Error::from(failure.at(&connection.endpoint)).context(format!("queue `{name}`"))
    })
}

async fn redrive(connection: &Connection, dead: &str) -> Result<String, Failure> {
    let missing = || refused(format!("there is no queue `{dead}` for its dead letters"));
    let url = url(connection, dead).await?.ok_or_else(missing)?;
    let arn = attribute(connection, &url, QueueAttributeName::QueueArn).await?.ok_or_else(missing)?;
    Ok(json!({ "deadLetterTargetArn": arn, "maxReceiveCount": limits::RECEIVE_COUNT_MAX }).to_string())
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
