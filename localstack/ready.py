# Makes the bucket and the queues of the context `localstack`: what `afn context create localstack` makes, for who
# wants them there from the start. LocalStack in a container runs it when it is ready, `localstack/up` on the host.
# It makes what is missing and changes nothing else.

import json
import os

import boto3

endpoint = os.environ.get("AWS_ENDPOINT_URL", "http://localhost:4566")


def client(service):
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


s3 = client("s3")
if "afn" not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket="afn")

sqs = client("sqs")
# 14 days, as long as SQS keeps a message.
retention = {"MessageRetentionPeriod": "1209600"}
for name in ["afn-calls", "afn-chunks", "afn-batches"]:
    dead = sqs.create_queue(QueueName=name + "-dead", Attributes=retention)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1000})
    attributes = {**retention, "VisibilityTimeout": "60", "RedrivePolicy": redrive}
    sqs.create_queue(QueueName=name, Attributes=attributes)
