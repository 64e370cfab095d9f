//! SQS as a [`Queue`]: a standard queue, found by its name when it is first used.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, DeleteMessageBatchRequestEntry, Message, MessageAttributeValue,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use tokio::sync::OnceCell;

use super::config::{self, Connection};
use super::errors::{Endpoint, Failure, entry_error, queue_error};
use crate::limits;
use crate::model::Time;
use crate::seam::queue::{
    Depth, EntryAnswers, Outgoing, Queue, QueueError, QueueResult, Receipt, Received, check_batch,
};

/// The message attribute that carries the metadata.
const METADATA: &str = "note";

#[derive(Debug)]
pub struct SqsQueue {
    client: aws_sdk_sqs::Client,
    name: String,
    url: OnceCell<String>,
    long_poll: Duration,
    endpoint: Endpoint,
}

impl SqsQueue {
    /// `name` may be a URL as well, of a queue in another account.
    pub fn new(connection: &Connection, name: &str) -> SqsQueue {
        let url = if is_url(name) { OnceCell::new_with(Some(name.to_owned())) } else { OnceCell::new() };
        SqsQueue {
            client: connection.sqs.clone(),
            name: name.to_owned(),
            url,
            long_poll: connection.long_poll,
            endpoint: connection.endpoint.clone(),
        }
    }

    pub async fn url(&self) -> QueueResult<&str> {
        let look_up = || async {
            let got = self.client.get_queue_url().queue_name(&self.name).send().await;
            let url = self.answer(got).await?.queue_url;
            url.ok_or_else(|| QueueError::Lost("SQS answered without the queue's URL".to_owned()))
        };
        self.url.get_or_try_init(look_up).await.map(String::as_str)
    }

    async fn receive_once(&self, max: usize, wait: u64, visibility: Duration) -> QueueResult<Vec<Message>> {
        let received = self
            .client
            .receive_message()
            .queue_url(self.url().await?)
            .max_number_of_messages(max.clamp(1, limits::QUEUE_BATCH_MAX) as i32)
            .wait_time_seconds(wait as i32)
            .visibility_timeout(whole_seconds(visibility))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .message_attribute_names(METADATA)
            .customize()
            .config_override(
                aws_sdk_sqs::config::Builder::new()
                    .timeout_config(config::timeouts(Duration::from_secs(wait))),
            )
            .send()
            .await;
        let received = self.answer(received).await?;
        Ok(received.messages.unwrap_or_default())
    }

    async fn answer<T>(&self, answer: Result<T, impl Into<Failure>>) -> QueueResult<T> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(failure) => {
                let error = queue_error(failure.into().at(&self.endpoint), &self.name);
                Err(self.endpoint.locate(error).await)
            }
        }
    }

    /// Lays what SQS said of a batch, whose entries are named by their place, over `answers`.
    fn settle<'a>(
        &self,
        answers: &mut [QueueResult<()>],
        done: impl Iterator<Item = &'a str>,
        failed: &[BatchResultErrorEntry],
    ) {
        let done = done.map(|id| (id, Ok(())));
        let failed = failed.iter().map(|entry| {
            let error = entry_error(&entry.code, entry.message.as_deref(), entry.sender_fault, &self.name);
            (entry.id.as_str(), Err(error))
        });
        for (id, answer) in done.chain(failed) {
            if let Some(place) = id.parse::<usize>().ok().and_then(|place| answers.get_mut(place)) {
                *place = answer;
            }
        }
    }
}

/// Of an entry that SQS says nothing about.
fn unanswered() -> QueueResult<()> {
    Err(QueueError::Lost("SQS answered without this entry".to_owned()))
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> QueueResult<EntryAnswers> {
        check_batch(messages.len())?;
        let mut answers = Vec::with_capacity(messages.len());
        let mut entries = Vec::with_capacity(messages.len());
        for (place, message) in messages.into_iter().enumerate() {
            match message.check() {
                Ok(()) => {
                    entries.push(outgoing(place, message)?);
                    answers.push(unanswered());
                }
                refused => answers.push(refused),
            }
        }
        if entries.is_empty() {
            return Ok(answers);
        }
        let request =
            self.client.send_message_batch().queue_url(self.url().await?).set_entries(Some(entries));
        let sent = self.answer(request.send().await).await?;
        self.settle(&mut answers, sent.successful.iter().map(|entry| entry.id.as_str()), &sent.failed);
        Ok(answers)
    }

    async fn receive(&self, max: usize, wait: Duration, visibility: Duration) -> QueueResult<Vec<Received>> {
        // One request, whatever the wait: each is counted, and whoever asked may ask again.
        let wait = wait.min(self.long_poll).as_secs();
        self.receive_once(max, wait, visibility).await?.into_iter().map(incoming).collect()
    }

    async fn extend(&self, receipt: &Receipt, visibility: Duration) -> QueueResult<()> {
        let request = self
            .client
            .change_message_visibility()
            .queue_url(self.url().await?)
            .receipt_handle(&receipt.0)
            .visibility_timeout(whole_seconds(visibility));
        self.answer(request.send().await).await?;
        Ok(())
    }

    async fn delete(&self, receipts: &[Receipt]) -> QueueResult<EntryAnswers> {
        if receipts.is_empty() {
            return Ok(Vec::new());
        }
        check_batch(receipts.len())?;
        let mut entries = Vec::with_capacity(receipts.len());
        for (place, receipt) in receipts.iter().enumerate() {
            let entry =
                DeleteMessageBatchRequestEntry::builder().id(place.to_string()).receipt_handle(&receipt.0);
            entries.push(entry.build().map_err(impossible)?);
        }
        let request =
            self.client.delete_message_batch().queue_url(self.url().await?).set_entries(Some(entries));
        let deleted = self.answer(request.send().await).await?;
        let mut answers = vec![unanswered(); receipts.len()];
        self.settle(&mut answers, deleted.successful.iter().map(|entry| entry.id.as_str()), &deleted.failed);
        for answer in &mut answers {
            if *answer == Err(QueueError::Gone) {
                *answer = Ok(());
            }
        }
        Ok(answers)
    }

    async fn depth(&self) -> QueueResult<Depth> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let request = self
            .client
            .get_queue_attributes()
            .queue_url(self.url().await?)
            .set_attribute_names(Some(names.to_vec()));
        let attributes = self.answer(request.send().await).await?.attributes;
        let count = |name: &QueueAttributeName| {
            attributes.as_ref().and_then(|attributes| attributes.get(name)?.parse().ok()).unwrap_or_default()
        };
        Ok(Depth { visible: count(&names[0]), in_flight: count(&names[1]), delayed: count(&names[2]) })
    }
}

pub(crate) fn is_url(name: &str) -> bool {
    name.starts_with("https://") || name.starts_with("http://")
}

fn impossible(error: aws_sdk_sqs::error::BuildError) -> QueueError {
    QueueError::Refused(error.to_string())
}

fn outgoing(place: usize, message: Outgoing) -> QueueResult<SendMessageBatchRequestEntry> {
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(place.to_string())
        .message_body(message.body)
        .delay_seconds(whole_seconds(message.delay))
        .set_message_group_id(message.group);
    if let Some(metadata) = message.metadata.filter(|metadata| !metadata.is_empty()) {
        let metadata = MessageAttributeValue::builder().data_type("String").string_value(metadata);
        entry = entry.message_attributes(METADATA, metadata.build().map_err(impossible)?);
    }
    entry.build().map_err(impossible)
}

fn incoming(message: Message) -> QueueResult<Received> {
    let broken = |what: &str| QueueError::Lost(format!("SQS answered without the message's {what}"));
    let system = |name: MessageSystemAttributeName| -> Option<u64> {
        message.attributes.as_ref()?.get(&name)?.parse().ok()
    };
    let delivery = system(MessageSystemAttributeName::ApproximateReceiveCount);
    let sent_at = system(MessageSystemAttributeName::SentTimestamp);
    let metadata =
        message.message_attributes.and_then(|mut attributes| attributes.remove(METADATA)?.string_value);
    Ok(Received {
        id: message.message_id.ok_or_else(|| broken("id"))?,
        receipt: Receipt(message.receipt_handle.ok_or_else(|| broken("receipt"))?),
        body: message.body.unwrap_or_default(),
        metadata,
        delivery: delivery.ok_or_else(|| broken("receive count"))?.clamp(1, u32::MAX.into()) as u32,
        sent_at: Time(sent_at.ok_or_else(|| broken("time"))?),
    })
}

/// SQS counts in seconds: never shorter than asked for.
fn whole_seconds(duration: Duration) -> i32 {
    duration.as_millis().div_ceil(1_000).min(i32::MAX as u128) as i32
}
