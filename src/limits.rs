//! Every number, in one place. A unit comes last in a name. The relations that the protocols rely on are asserted below,
//! so that a change that breaks one does not compile.

mod api;
mod archive;
mod dispatch;
mod panics;
mod records;
mod shares;
mod starts;
mod upkeep;

use std::time::Duration;

pub use self::upkeep::*;
pub use api::*;
pub use archive::*;
pub use dispatch::*;
pub use panics::*;
pub use records::*;
pub use shares::*;
pub use starts::*;

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const fn hours(count: u64) -> Duration {
    minutes(count * 60)
}

const fn days(count: u64) -> Duration {
    hours(count * 24)
}

/// A time as a number of milliseconds, as objects and messages have it.
pub const fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}

// ---- What a call may weigh.

/// The body of one call.
pub const PAYLOAD_BYTES_MAX: u64 = 6 * MIB;
/// A file or an object that is the payload of a call of a batch: streamed from one end to the other.
pub const BODY_BYTES_MAX: u64 = 256 * MIB;
/// The answer of one call.
pub const RESULT_BYTES_MAX: u64 = 64 * MIB;
/// Past this a result, or the payload of a call of a batch, is spooled to an unlinked file instead of held in memory.
pub const BODY_MEMORY_BYTES: u64 = MIB;
/// stdout and stderr of one attempt; what comes after is cut, and the log says so.
pub const LOG_BYTES_MAX: u64 = MIB;
/// The request headers that travel with a payload, names and values.
pub const HEADERS_BYTES_MAX: u64 = KIB;
/// The metadata of an object (S3 allows 2 KB in all).
pub const METADATA_BYTES_MAX: u64 = 2 * KIB - 64;
/// The part of it that says why an attempt failed.
pub const METADATA_REASON_BYTES_MAX: u64 = KIB;
/// A persisted JSON body, as it is written and read.
pub const FACT_BYTES_MAX: u64 = MIB;
/// The one that lists ranges: of the chunks that are missing from a batch.
pub const SEALED_BYTES_MAX: u64 = 16 * MIB;
/// A chunk's object: its records, compressed or not, and what rides with each.
pub const CHUNK_OBJECT_BYTES_MAX: u64 = 4 * CHUNK_BYTES_MAX;
/// A part's object: what a flush leaves, with the rows that ended while it was decided.
pub const PART_OBJECT_BYTES_MAX: u64 = 8 * FLUSH_BYTES;
/// A flush of more writes several parts.
pub const PART_ROWS_BYTES_MAX: u64 = PART_OBJECT_BYTES_MAX / 2;
/// What the tables of chunks and parts have at the most: rows in all and of one group, groups, columns.
pub const TABLE_ROWS_MAX: usize = RANGE_CALLS_MAX as usize;
pub const TABLE_GROUP_ROWS_MAX: usize = 8_192;
pub const TABLE_GROUPS_MAX: usize = 1_024;
pub const TABLE_COLUMNS_MAX: usize = 64;
/// The metadata at a table's end, and what a part's footer says of its chunk in it.
pub const TABLE_FOOTER_BYTES_MAX: usize = 8 * MIB as usize;
/// What the values of one group may come to in memory, beyond the size of their object.
pub const TABLE_INFLATED_BYTES_MAX: u64 = 48 * MIB;
/// No size in bytes and no duration in ms that is persisted is larger: sums of them do not overflow.
pub const SIZE_MAX: u64 = 1 << 42;
/// Nor is a sum of them, or a count, over one chunk and over one batch.
pub const CHUNK_SUM_MAX: u64 = 1 << 48;
pub const BATCH_SUM_MAX: u64 = 1 << 56;
/// Executions of one call.
pub const ATTEMPTS_ENDED_MAX: u32 = 1_000_000;
/// App and function config, keys and values.
pub const CONFIG_BYTES_MAX: u64 = 64 * KIB;
/// References to secrets in the config of an app, and in that of a function.
pub const CONFIG_SECRETS_MAX: usize = 64;
/// The name or ARN of a secret.
pub const SECRET_NAME_BYTES_MAX: usize = 2_048;
/// `func.yaml` or `app.yaml`.
pub const FUNC_FILE_BYTES_MAX: u64 = 256 * KIB;
/// Lists and maps within one another in those files.
pub const FUNC_FILE_DEPTH_MAX: usize = 16;
pub const APP_NAME_BYTES_MAX: usize = 30;
pub const FUNCTION_NAME_BYTES_MAX: usize = 64;
pub const ROUTE_BYTES_MAX: usize = 200;
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_KEY: Duration = days(1);
/// A repetition under a key sends a call again that is older, by the store's clock, and of which no worker has left
/// anything: whoever stored it has sent it by then, or never will.
pub const UNSENT_AFTER: Duration = Duration::from_secs(90);

// ---- What a function may ask for.

pub const TIMEOUT_MS_MIN: u64 = SECOND_MS;
pub const TIMEOUT_MS_DEFAULT: u64 = 30 * SECOND_MS;
pub const TIMEOUT_MS_MAX: u64 = 5 * HOUR_MS;
pub const IDLE_TIMEOUT_MS_DEFAULT: u64 = 30 * SECOND_MS;
pub const IDLE_TIMEOUT_MS_MAX: u64 = HOUR_MS;
pub const MEMORY_MIB_MIN: u64 = 6;
pub const MEMORY_MIB_DEFAULT: u64 = 128;
pub const MEMORY_MIB_MAX: u64 = 65_536;
pub const CPU_MILLIS_MAX: u64 = 1_024_000;
pub const ATTEMPTS_MAX: u32 = 100;
/// Retries of a call's own failure, unless the function asks for more.
pub const CALL_RETRIES_DEFAULT: u32 = 0;
/// Retries when the function cannot be started (image absent, socket never opened).
pub const START_RETRIES: u32 = 2;
/// Retries of a call that asks for them: exit code 75, or an answer with `Retry-After`. Later ones count as failures.
pub const BUSY_RETRIES: u32 = 10;
pub const RETRY_BACKOFF_MS_DEFAULT: u64 = SECOND_MS;
pub const RETRY_BACKOFF_MS_MAX: u64 = 15 * MINUTE_MS;
/// A retry's wait up to here is spent on the worker, without a slot. A longer one is recorded as pending (batches) or
/// travels as a delayed message (single calls).
pub const RETRY_IN_PLACE_MAX: Duration = Duration::from_secs(10);
/// How long a container has from start to its listening socket.
pub const START_MAX: Duration = Duration::from_secs(60);
/// How long an image may take to be pulled.
pub const PULL_MAX: Duration = minutes(10);
/// How long Docker may take to answer a request (the answer's beginning, where it streams).
pub const DOCKER_REQUEST_MAX: Duration = minutes(2);
/// How long an image may take to be built or pushed.
pub const BUILD_MAX: Duration = hours(1);
/// Processes and threads in one container.
pub const PIDS_MAX: u64 = 256;
/// Open files of one process in a container.
pub const OPEN_FILES_MAX: u64 = 1_024;
/// After a hot container's answer its log is read until nothing has come for this long, and no longer than the second;
/// one that spoke in its last call is given as long to say the first word.
pub const LOG_QUIET: Duration = Duration::from_millis(20);
pub const LOG_QUIET_MAX: Duration = Duration::from_millis(500);
/// How long Docker may take to hand over what a container said before it ended.
pub const LAST_WORDS_MAX: Duration = Duration::from_secs(30);
/// How often a worker looks for containers that nobody owns any more.
pub const REAP_EVERY: Duration = minutes(1);

// ---- Queues.

/// SQS refuses more.
pub const DELAY_MAX: Duration = minutes(15);
/// A lease, and by the third of it extended.
pub const VISIBILITY: Duration = minutes(1);
/// The same for messages of supervisors.
pub const SUPERVISOR_VISIBILITY: Duration = Duration::from_secs(30);
/// What a worker may be told instead. Shorter, and a busy moment costs a lease; the queue counts in seconds.
pub const VISIBILITY_MIN: Duration = Duration::from_secs(3);
pub const VISIBILITY_MAX: Duration = hours(1);
pub const LONG_POLL: Duration = Duration::from_secs(20);
/// What a receive under way gets to end by itself when a worker stops.
pub const LAST_POLL: Duration = Duration::from_millis(500);
/// LocalStack does not notice that whoever waited is gone, and hands the next message to nobody: it would be hidden until
/// that lease lapsed. A receive there waits no longer than this, and a worker that stops waits for its end.
pub const LONG_POLL_LOCALSTACK: Duration = Duration::from_secs(2);
pub const RETENTION: Duration = days(14);
/// Messages in one request.
pub const QUEUE_BATCH_MAX: usize = 10;
/// One message, and all messages of one request.
pub const MESSAGE_BYTES_MAX: usize = 1_048_576;
/// The queue's own redrive: a far net, the most that SQS allows.
pub const RECEIVE_COUNT_MAX: u32 = 1_000;
/// Past this many deliveries whoever puts a message back on purpose sends it anew.
pub const PUT_BACK_COUNT_MAX: u32 = 20;
/// How long a message that cannot be worked on here is put back.
pub const PUT_BACK: Duration = minutes(1);
/// A worker that does not suit puts a message back for this long.
pub const MISMATCH_PUT_BACK: Duration = Duration::from_secs(1);
/// Before its next receive on that queue it waits this long, doubled each time up to the second, times 0.5 to 1.5.
pub const MISMATCH_PAUSE_MIN: Duration = Duration::from_secs(1);
pub const MISMATCH_PAUSE_MAX: Duration = Duration::from_secs(30);
/// A call that was not started for so long is recorded as an error: the queue keeps messages no longer.
pub const NOT_STARTED_MAX: Duration = RETENTION;
/// A message of another store, or of a newer program, is put back for this long; twice as long each time it comes again,
/// up to [`PUT_BACK`] for one of another store, whose workers share the queue, and to [`DELAY_MAX`] for others.
pub const PUT_ASIDE_MIN: Duration = Duration::from_secs(1);
/// A worker tells of such messages at most this often for each queue.
pub const PUT_ASIDE_TOLD: Duration = minutes(1);

// ---- Leases and what follows from them.

/// A holder starts nothing new after this, finishes, and hands the rest to a new message.
pub const HAND_OVER: Duration = hours(6);
/// SQS ends a lease this long after the receive, extended or not; nothing is committed later.
pub const LEASE_MAX: Duration = hours(12);
/// A call with so many loss marks is recorded `killed`, ...
pub const LOSSES_MAX: usize = 5;
/// ... if it had the worker to itself under so many of them: beside others, another call may have been the one.
pub const LONE_LOSSES_MIN: usize = 3;
/// A message with so many `Reading` marks, each of a worker that was lost while it read the objects, is decided without reading
/// them. On the simulator's bad days three workers are lost there that nothing was wrong with.
pub const READING_LOSSES_MAX: usize = 8;
/// A suspect tries for so long to be the only one on its worker, then goes back to the queue for as long.
pub const SUSPECT_WAIT: Duration = minutes(1);
/// A call that has waited so long to have a worker to itself queues for it: nothing starts there before it.
pub const ALONE_QUEUES_AFTER: Duration = minutes(3);
/// Suspects that run under one mark take about this long together.
pub const UNIT: Duration = Duration::from_secs(1);
/// A message with such a unit is delayed this long: the message that it replaces is deleted by then.
pub const UNIT_DELAY: Duration = Duration::from_secs(1);
/// A call that has run this long gets its `started`.
pub const STARTED_AFTER: Duration = Duration::from_secs(2);
/// A running call's `status` is looked at every clamp(elapsed / 10, MIN, MAX).
pub const CANCEL_LOOK_MIN: Duration = Duration::from_secs(2);
pub const CANCEL_LOOK_MAX: Duration = minutes(1);
/// What a worker gives running calls on drain before they go back.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(25);
/// A sick worker probes itself with backoff between these.
pub const PROBE_MIN: Duration = Duration::from_secs(1);
pub const PROBE_MAX: Duration = minutes(1);

// ---- Batches.

/// Calls of the first chunks, and of the last: small batches spread over many workers, large ones cost little.
pub const CHUNK_CALLS_MIN: u64 = 64;
pub const CHUNK_CALLS_MAX: u64 = 2_000;
pub const CHUNKS_PER_DOUBLING: u64 = 8;
/// Uncompressed records of one chunk.
pub const CHUNK_BYTES_MAX: u64 = 8 * MIB;
/// A record past this lies in an object of its own, which its chunk names.
pub const RECORD_INLINE_BYTES_MAX: u64 = BODY_MEMORY_BYTES;
/// Chunks on their way into the store, in bytes of records.
pub const SUBMIT_BYTES_IN_FLIGHT: u64 = 32 * MIB;
/// Chunks on their way, until their messages are acknowledged: what a resume sends again at the most beside chunks that
/// are not decided (H22).
pub const SUBMIT_CHUNKS_IN_FLIGHT: usize = 32;
/// A chunk's message waits this long for others to share a request with.
pub const SUBMIT_SEND_WAIT: Duration = Duration::from_millis(100);
/// Records of a pipe wait for others to fill a chunk: clamp(elapsed / 20, MIN, MAX).
pub const SUBMIT_LINGER_MIN: Duration = Duration::from_secs(1);
pub const SUBMIT_LINGER_MAX: Duration = Duration::from_secs(60);
/// A submitter looks this often whether its batch was cancelled.
pub const SUBMIT_LOOK: Duration = Duration::from_secs(1);
/// A result up to here lies in its row.
pub const RESULT_INLINE_BYTES_MAX: u64 = 16 * KIB;
/// The end of a log that lies in its row.
pub const ROW_LOG_BYTES_MAX: u64 = 64 * KIB;
/// A buffer of rows is flushed when it has so many bytes, whatever the time.
pub const FLUSH_BYTES: u64 = 8 * MIB;
/// A slow chunk is flushed every clamp(elapsed / 3, MIN, MAX).
pub const FLUSH_MIN: Duration = Duration::from_secs(3);
/// MIN of a range whose rest is over soon, or whose chunk several workers record; and of such a one while calls wait for a retry.
pub const FLUSH_REST_MIN: Duration = Duration::from_secs(60);
pub const FLUSH_PENDING_MIN: Duration = Duration::from_secs(30);
pub const FLUSH_MAX: Duration = Duration::from_secs(300);
/// A range is split when its rest takes at least this long, but for what begins within this time.
pub const SPLIT_REST: Duration = Duration::from_secs(2);
/// The longest time between two looks whether to split.
pub const SPLIT_LOOK_MAX: Duration = Duration::from_secs(15);
/// A range takes so long with all slots of a worker, and has so many calls for each slot.
pub const RANGE: Duration = Duration::from_secs(30);
pub const RANGE_CALLS_PER_SLOT_MIN: usize = 2;
/// A message is cut that is worth so many ranges.
pub const RANGES_CUT_MIN: usize = 3;
/// A piece of a range takes at least so long with all slots of a worker.
pub const PIECE_MIN: Duration = Duration::from_secs(3);
/// The last empty receive on `chunks` is younger than this, or messages may wait there.
pub const EMPTY_RECEIVE: Duration = Duration::from_secs(20);
/// Retries of a chunk that are due within this are sent together.
pub const RETRIES_TOGETHER: Duration = Duration::from_secs(5);
/// The next range is asked for when the slots are likely to be free for it within this: it hides two requests.
pub const RECEIVE_AHEAD: Duration = Duration::from_millis(250);
/// Ranges are received together that are worked off in this time, at the pace of the last one.
pub const RANGES_AHEAD: Duration = Duration::from_millis(500);
/// Calls of one range message.
pub const RANGE_CALLS_MAX: u64 = 65_536;
/// Runs of retries that a supervisor names to its successor; of more the successor waits whether they come back.
pub const RETRIED_RUNS_MAX: usize = 1_000;
/// What a supervisor does not know whether it was sent gets this long to show itself; a retry two executions more.
pub const UNCERTAIN: Duration = Duration::from_secs(90);
/// Before a retry begins, its log was read within this.
pub const RETRY_LOG_AGE: Duration = Duration::from_secs(30);
/// Messages that came together and could not be put back or handed on within this are left to their leases.
pub const TAKEN_IN_WITHIN: Duration = Duration::from_secs(10);
/// A message whose work did not begin within this goes back to the queue.
pub const BEGIN_WITHIN: Duration = Duration::from_secs(2);
/// The supervisor looks every clamp(elapsed / 20, MIN, MAX).
pub const SUPERVISE_MIN: Duration = Duration::from_secs(1);
/// The same, when nothing is left to do where the supervisor is.
pub const SUPERVISE_AT_END_MIN: Duration = Duration::from_millis(250);
pub const SUPERVISE_MAX: Duration = minutes(1);
/// Supervisors that one worker keeps. Past it those whose batch has nothing to do give their place up.
pub const SUPERVISORS_MAX: usize = 64;
/// The same, where all of them have something to do.
pub const SUPERVISORS_BUSY_MAX: usize = 512;
/// A supervisor ends when nothing has happened to its batch for this long, and its message comes back after the second.
pub const SUPERVISOR_IDLE: Duration = minutes(10);
pub const SUPERVISOR_AGAIN: Duration = DELAY_MAX;
/// Where a worker keeps too many, it ends after this already. Its message comes back after as long as it was idle, up to
/// the second.
pub const SUPERVISOR_CROWDED: Duration = Duration::from_secs(5);
pub const SUPERVISOR_CROWDED_AGAIN_MAX: Duration = Duration::from_secs(30);
/// A batch that nothing has happened to for this long is looked at once in the second.
pub const SUPERVISOR_ABANDONED: Duration = days(3);
pub const SUPERVISOR_ABANDONED_AGAIN: Duration = hours(1);
/// A submitter that has stored nothing for this long calls the supervisor when it goes on. It may have ended by then.
pub const SUPERVISOR_CALL: Duration = minutes(9);
/// An undecided chunk that has not moved for this long is asked which numbers it has: some below may be missing.
pub const SUPERVISE_GAPS: Duration = minutes(1);
/// `seal` is refused while the youngest chunk is younger, and a cancelled batch is sealed by its supervisor after it.
pub const SEAL_QUIET: Duration = minutes(10);
/// Tries of a webhook, within about ten minutes.
pub const WEBHOOK_TRIES_MAX: u32 = 10;

// ---- Sources of batches.

/// One line or record of a source; a longer one is a bad record, and is skipped without being held.
pub const RECORD_BYTES_MAX: u64 = PAYLOAD_BYTES_MAX;
/// What is read at a time, and about what is handed on at a time.
pub const SOURCE_BLOCK_BYTES: u64 = 512 * KIB;
pub const SOURCE_ITEMS_MAX: usize = 1_024;
/// Compressed bytes inflated at a time: gzip makes at most 1,032 of one.
pub const INFLATE_PIECE_BYTES: usize = 512;
/// What a zstd stream may have the reader remember: 128 MiB, what `zstd -d` accepts by itself.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// What an xz stream may have the reader remember. `xz -9` needs half of it.
pub const XZ_DICTIONARY_BYTES_MAX: usize = 128 * MIB as usize;
/// What is read at a time of a Parquet file in a bucket, and how many of these blocks are kept.
pub const PARQUET_BLOCK_BYTES: u64 = MIB;
pub const PARQUET_BLOCKS_MAX: usize = 32;
/// The beginning of a source, by which it is told what the source is.
pub const SOURCE_HEAD_BYTES: usize = 512;
pub const CSV_COLUMNS_MAX: usize = 4_096;
/// Names in one folder: they are sorted in memory.
pub const FOLDER_ENTRIES_MAX: usize = 1_000_000;
pub const FOLDER_DEPTH_MAX: usize = 64;
/// Objects of a source that are read side by side, and their bytes together.
pub const OBJECTS_AHEAD_MAX: usize = 32;
pub const OBJECTS_AHEAD_BYTES: u64 = 8 * MIB;

// ---- Requests to store and queue.

pub const REQUEST_TRIES_MAX: u32 = 12;
pub const REQUEST_MAX: Duration = Duration::from_secs(60);
pub const REQUEST_BACKOFF_MIN: Duration = Duration::from_millis(50);
pub const REQUEST_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Tries to find somebody at an address where nobody was found yet: it is a wrong one, or a service that is not started.
pub const UNREACHED_TRIES_MAX: u32 = 4;
/// A request that is still repeated after this is told of.
pub const REQUEST_TOLD: Duration = Duration::from_secs(2);
/// How often a change to a definition is tried while others change it too.
pub const DEFINITION_TRIES_MAX: u32 = 16;
/// How long a connection may take.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long an answer may take, beside the time of a long poll or of sending a body.
pub const ANSWER_MAX: Duration = Duration::from_secs(20);
/// A body is given the time that it takes at this pace.
pub const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 512 * KIB;
/// How long a worker uses a secret that it has read, and how long it takes a failure to read one as the answer.
pub const SECRET_FRESH: Duration = minutes(1);
pub const SECRET_FAILURE_FRESH: Duration = Duration::from_secs(5);
/// Secrets that a worker keeps in memory.
pub const SECRETS_KEPT_MAX: usize = 1_000;
/// Buckets of users that a worker has open.
pub const DATA_BUCKETS_OPEN_MAX: usize = 64;
/// Keys in one page of a list, and in one delete.
pub const LIST_PAGE_MAX: usize = 1_000;

// ---- Reading back.

/// A body is read in ranges of this many bytes.
pub const READ_PAGE_BYTES: u64 = 8 * MIB;
/// Calls that are looked at side by side.
pub const READ_AHEAD_MAX: usize = 32;
/// Who waits for an outcome looks again after the first of these, growing to the second.
pub const WAIT_LOOK_MIN: Duration = Duration::from_millis(50);
pub const WAIT_LOOK_MAX: Duration = Duration::from_secs(2);
/// Parts of a batch that are fetched ahead of whoever reads its rows.
pub const ROWS_AHEAD_BYTES: u64 = 16 * MIB;
/// Results that lie in objects of their own and are read side by side for an export, in bytes; one at the least.
pub const EXPORT_BODIES_BYTES: u64 = 32 * MIB;
/// Columns that the results of a batch are flattened into.
pub const FLATTEN_COLUMNS_MAX: usize = 1_000;
/// A batch is looked at every clamp(watched / 20, MIN, MAX).
pub const WATCH_LOOK_MIN: Duration = Duration::from_secs(1);
pub const WATCH_LOOK_MAX: Duration = Duration::from_secs(30);
/// Between two looks at a queue that tell whether somebody works on it.
pub const WHY_LOOK: Duration = Duration::from_millis(1_500);
/// A batch of which nothing was recorded for so long is told of as one that may have lost its workers.
pub const WHY_SILENT: Duration = Duration::from_secs(10);

// ---- One SQLite file for several processes.

/// How often a lock that another process holds is asked for, and the longest wait in between.
pub const SQLITE_BUSY_TRIES_MAX: u64 = 500;
pub const SQLITE_BUSY_WAIT_MAX: Duration = Duration::from_millis(20);
/// What joins one transaction: so much is paid for by one sync to the disk.
pub const SQLITE_GROUP_WRITES_MAX: usize = 256;
pub const SQLITE_GROUP_BYTES_MAX: u64 = 8 * MIB;
/// Connections that read, of one process.
pub const SQLITE_READERS_MAX: usize = 4;
/// Pages of the log (of 4 KiB) after which they are moved into the file: each move costs two more syncs.
pub const SQLITE_CHECKPOINT_PAGES: u64 = 4_000;
/// What the log is cut down to after a burst.
pub const SQLITE_LOG_BYTES_KEPT: u64 = 64 * MIB;
/// How often a waiting receive looks for what other processes wrote; less and less often while nothing happens.
pub const SQLITE_LOOK_MIN: Duration = Duration::from_millis(5);
pub const SQLITE_LOOK_MAX: Duration = Duration::from_millis(50);
/// How often a queue is examined for messages that a clock set back would hide.
pub const SQLITE_EXAMINE: Duration = Duration::from_secs(5);

// ---- Lists.

pub const LIST_CALLS_DEFAULT: usize = 100;
pub const LIST_BATCHES_DEFAULT: usize = 20;
/// `list calls` stops here with a cursor, however few matched.
pub const LIST_SCAN_MAX: usize = 10_000;
pub const LIST_WINDOW_MIN: Duration = minutes(1);
/// `doctor` shows panics of workers that are no older.
pub const PANICS_SHOWN_WITHIN: Duration = hours(24);
/// It shows so many, and counts the others.
pub const PANICS_SHOWN_MAX: usize = 10;
/// It looks for missing capabilities at so many batches of the context.
pub const UNSUITED_BATCHES_MAX: usize = 50;
/// It reads so many reasons of a batch.
pub const UNSUITED_REASONS_MAX: usize = 5;
/// It lists so many pages of a batch's logs to see whether a worker has recorded an outcome since.
pub const UNSUITED_PAGES_MAX: usize = 5;

// ---- How much work is left.

/// As many slots are wanted as end the work within this time.
pub const WANTED_WITHIN: Duration = minutes(10);
/// `wanted` looks at so many batches, and `status` and `batch run` at so many others.
pub const WANTED_BATCHES_MAX: usize = 200;
pub const OTHER_BATCHES_MAX: usize = 50;

// ---- Relations.

macro_rules! relations {
    ($($relation:expr, $reason:literal;)+) => {
        $(const _: () = assert!($relation, $reason);)+
    };
}

relations! {
    TIMEOUT_MS_MAX + ms(HAND_OVER) + HOUR_MS <= ms(LEASE_MAX), "a run that starts last still commits in its lease";
    ms(LONG_POLL) + ms(ANSWER_MAX) < ms(VISIBILITY), "a received message is leased when its answer comes last";
    ms(RETRY_IN_PLACE_MAX) < ms(VISIBILITY) / 3, "a wait in place never outlasts an extension";
    ms(SUPERVISOR_VISIBILITY) <= ms(DISPATCH_AHEAD), "workers have work until a lost supervisor is replaced";
    ms(VISIBILITY_MIN) <= ms(VISIBILITY) && ms(VISIBILITY) <= ms(VISIBILITY_MAX),
        "a worker may be told to use the default lease";
    ms(VISIBILITY_MAX) <= ms(LEASE_MAX), "a lease is never longer than the queue lets it be";
    ms(FLUSH_MIN) <= ms(FLUSH_PENDING_MIN) && ms(FLUSH_PENDING_MIN) <= ms(FLUSH_REST_MIN) && ms(FLUSH_REST_MIN) <= ms(FLUSH_MAX),
        "the paces of a range lie between their bounds";
    ms(RUN_TOLD) < ms(STARTS_WAIT), "a worker that runs calls has told of it before their batch is stopped";
    ms(STARTS_WAIT) < ms(STARTS_PAUSE), "a batch is stopped before a worker tries to start its function again";
    ms(SUBMIT_LINGER_MIN) <= ms(SUBMIT_LINGER_MAX), "a pause of a pipe has bounds in order";
    RETRY_BACKOFF_MS_MAX <= ms(DELAY_MAX), "a retry's wait fits a delayed message";
    ms(SUPERVISOR_CALL) + ms(REQUEST_MAX) <= ms(SUPERVISOR_IDLE),
        "a submitter calls the supervisor before it may have ended";
    ms(SUPERVISOR_AGAIN) <= ms(DELAY_MAX), "the message of a supervisor that ended fits a delay";
    2 * ms(RECONCILE_EVERY) <= ms(SUPERVISOR_LOST_AGAIN),
        "the reconciler may miss one turn, and a lost supervisor is sent again all the same";
    ms(REQUEST_MAX) <= ms(VISIBILITY), "a request is given up before a lease of the same length lapses";
    ms(REQUEST_MAX) + ms(ANSWER_MAX) < ms(UNSENT_AFTER),
        "a submitter has sent its call, or given up, before a repetition sends it";
    ms(UNSENT_AFTER) < ms(RESEND_AFTER), "a repetition sends a call sooner than the reconciler";
    HEADERS_BYTES_MAX + 512 < METADATA_BYTES_MAX, "kept headers fit an object's metadata";
    6 * (PANIC_MESSAGE_BYTES_MAX + 2 * PANIC_NAME_BYTES_MAX) as u64 + 512 <= PANIC_BYTES_MAX, "a panic fits its object";
    METADATA_REASON_BYTES_MAX + 640 < METADATA_BYTES_MAX, "the end of an attempt fits an object's metadata";
    PUT_BACK_COUNT_MAX * 4 < RECEIVE_COUNT_MAX, "put-backs never reach the queue's redrive";
    ms(DELETE_AFTER) > ms(RETENTION) + ms(LEASE_MAX), "nothing late can find its call deleted (H14)";
    SQLITE_BUSY_TRIES_MAX * ms(SQLITE_BUSY_WAIT_MAX) < ms(REQUEST_MAX),
        "a lock is given up while the request may still be repeated";
    RECORD_BYTES_MAX <= CHUNK_BYTES_MAX && 3 * CHUNK_BYTES_MAX <= SUBMIT_BYTES_IN_FLIGHT,
        "a chunk is built and one waits while at least one is on its way";
}
