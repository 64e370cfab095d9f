//! Store on S3, queues on SQS.
