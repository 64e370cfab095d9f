//! Every number, in one place. Units stand last in a name; the relations that the protocols rest on are asserted
//! below, so that a change that breaks one does not compile.

pub const KIB: u64 = 1024;
pub const MIB: u64 = 1024 * KIB;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

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
/// The facts that ride on an object as metadata (S3 allows 2 KB in all).
pub const NOTE_BYTES_MAX: u64 = 2 * KIB - 64;
/// Of those, why an attempt failed.
pub const NOTE_REASON_BYTES_MAX: u64 = KIB;
/// App and function config, keys and values.
pub const CONFIG_BYTES_MAX: u64 = 64 * KIB;
/// `func.yaml` or `app.yaml`.
pub const FUNC_FILE_BYTES_MAX: u64 = 256 * KIB;
/// Lists and maps within one another in those files.
pub const FUNC_FILE_DEPTH_MAX: usize = 16;
/// A function's folder, packed for the process executor.
pub const ARCHIVE_BYTES_MAX: u64 = 256 * MIB;
/// What such a folder holds when it is unpacked.
pub const ARCHIVE_UNPACKED_BYTES_MAX: u64 = 2 * KIB * MIB;
pub const ARCHIVE_ENTRIES_MAX: usize = 100_000;
/// Unpacked folders that are kept on a machine for calls to come; those in use do not count against it.
pub const ARCHIVES_KEPT_MAX: usize = 64;
pub const ARCHIVE_PATH_BYTES_MAX: usize = 4_096;

pub const APP_NAME_BYTES_MAX: usize = 30;
pub const FUNCTION_NAME_BYTES_MAX: usize = 64;
pub const ROUTE_BYTES_MAX: usize = 200;
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;
/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_KEY_MS: u64 = DAY_MS;
/// A repetition under a key sends a call again that is older, by the store's clock, and of which no worker has left
/// anything: whoever stored it has sent it by then, or never will.
pub const UNSENT_AFTER_MS: u64 = 90 * SECOND_MS;
/// What an S3 key may have.
pub const OBJECT_KEY_BYTES_MAX: usize = 1024;

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
pub const FUNCTION_RETRIES: u32 = 2;
pub const RETRY_BACKOFF_MS_DEFAULT: u64 = SECOND_MS;
pub const RETRY_BACKOFF_MS_MAX: u64 = 15 * MINUTE_MS;
/// A retry's wait up to here is spent in place, with slot and lease held; a longer one travels as a delayed message.
pub const RETRY_IN_PLACE_MS_MAX: u64 = 10 * SECOND_MS;
/// How long a container has from start to its listening socket.
pub const START_MS_MAX: u64 = 60 * SECOND_MS;
/// How long an image may take to be pulled.
pub const PULL_MS_MAX: u64 = 10 * MINUTE_MS;
/// How long Docker may take to answer a request (the answer's beginning, where it streams).
pub const DOCKER_REQUEST_MS_MAX: u64 = 2 * MINUTE_MS;
/// How long an image may take to be built or pushed.
pub const BUILD_MS_MAX: u64 = HOUR_MS;
/// Processes and threads in one container.
pub const PIDS_MAX: u64 = 256;
/// Open files of one process in a container.
pub const OPEN_FILES_MAX: u64 = 1_024;
/// After a hot container's answer its log is read until nothing has come for this long, and no longer than the second;
/// one that spoke in its last call is given as long to say the first word.
pub const LOG_QUIET_MS: u64 = 20;
pub const LOG_QUIET_MS_MAX: u64 = 500;
/// How long Docker may take to hand over what a container said before it ended.
pub const LAST_WORDS_MS_MAX: u64 = 30 * SECOND_MS;
/// How often a worker looks for containers that nobody owns any more.
pub const REAP_EVERY_MS: u64 = MINUTE_MS;

// ---- Queues.

/// SQS refuses more.
pub const DELAY_MS_MAX: u64 = 15 * MINUTE_MS;
/// A lease, and by the third of it extended.
pub const VISIBILITY_MS: u64 = MINUTE_MS;
/// What a worker may be told instead. Shorter, and a busy moment costs a lease; the queue counts in seconds.
pub const VISIBILITY_MS_MIN: u64 = 3 * SECOND_MS;
pub const VISIBILITY_MS_MAX: u64 = HOUR_MS;
pub const LONG_POLL_MS: u64 = 20 * SECOND_MS;
/// What a receive under way gets to end by itself when a worker stops.
pub const LAST_POLL_MS: u64 = 500;
/// LocalStack does not notice that whoever waited is gone, and hands the next message to nobody: it would be hidden until
/// that lease lapsed. A receive there waits no longer than this, and a worker that stops waits for its end.
pub const LONG_POLL_LOCALSTACK_MS: u64 = 2 * SECOND_MS;
pub const RETENTION_MS: u64 = 14 * DAY_MS;
/// Messages in one request.
pub const QUEUE_BATCH_MAX: usize = 10;
/// One message, and all messages of one request.
pub const MESSAGE_BYTES_MAX: usize = 1_048_576;
/// The queue's own redrive: a far net, the most that SQS allows.
pub const RECEIVE_COUNT_MAX: u32 = 1_000;
/// Past this many deliveries whoever puts a message back on purpose sends it anew.
pub const PUT_BACK_COUNT_MAX: u32 = 20;
/// How long a message that cannot be worked on here is put back.
pub const PUT_BACK_MS: u64 = MINUTE_MS;
/// A mismatch that lasts this long is recorded.
pub const MISMATCH_MS_MAX: u64 = HOUR_MS;

// ---- Leases and what follows from them.

/// A holder starts nothing new after this, finishes, and hands the rest to a new message.
pub const HAND_OVER_MS: u64 = 6 * HOUR_MS;
/// SQS ends a lease this long after the receive, extended or not; nothing is committed later.
pub const LEASE_MS_MAX: u64 = 12 * HOUR_MS;
/// A call found in a mark that says `alone` this often is recorded `killed`.
pub const ALONE_MARKS_MAX: u32 = 3;
/// A call that has run this long gets its `started`.
pub const STARTED_AFTER_MS: u64 = 2 * SECOND_MS;
/// A running call's `status` is looked at every clamp(elapsed / 10, MIN, MAX).
pub const CANCEL_LOOK_MS_MIN: u64 = 2 * SECOND_MS;
pub const CANCEL_LOOK_MS_MAX: u64 = MINUTE_MS;
/// What a worker gives running calls on drain before they go back.
pub const GRACE_MS_DEFAULT: u64 = 25 * SECOND_MS;
/// A call without outcome is sent again by the reconciler when it is older than max(this, 2 × timeout).
pub const RESEND_AFTER_MS: u64 = HOUR_MS;
/// How often the reconciler looks, by one worker of all.
pub const RECONCILE_EVERY_MS: u64 = HOUR_MS;
/// A sick worker probes itself with backoff between these.
pub const PROBE_MS_MIN: u64 = SECOND_MS;
pub const PROBE_MS_MAX: u64 = MINUTE_MS;
/// A single call is deleted this long after its `status`: no message, lease or run can still be alive.
pub const DELETE_AFTER_MS: u64 = RETENTION_MS + LEASE_MS_MAX + TIMEOUT_MS_MAX;

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
pub const SUBMIT_SEND_WAIT_MS: u64 = 100;
/// Records of a pipe wait for others to fill a chunk: clamp(elapsed / 20, MIN, MAX).
pub const SUBMIT_LINGER_MS_MIN: u64 = SECOND_MS;
pub const SUBMIT_LINGER_MS_MAX: u64 = 60 * SECOND_MS;
/// A submitter looks this often whether its batch was cancelled.
pub const SUBMIT_LOOK_MS: u64 = SECOND_MS;
/// A result up to here lies in its row.
pub const RESULT_INLINE_BYTES_MAX: u64 = 16 * KIB;
/// The end of a log that lies in its row.
pub const ROW_LOG_BYTES_MAX: u64 = 64 * KIB;
/// A buffer of rows is flushed when it has so many bytes, whatever the time.
pub const FLUSH_BYTES: u64 = 8 * MIB;
/// A slow chunk is flushed every clamp(elapsed / 3, MIN, MAX).
pub const FLUSH_MS_MIN: u64 = 3 * SECOND_MS;
/// The same, when it is shared, or what is left takes too little time to be.
pub const FLUSH_REST_MS_MIN: u64 = 30 * SECOND_MS;
pub const FLUSH_MS_MAX: u64 = 300 * SECOND_MS;
/// A slow range is offered to others every clamp(elapsed / 4, this, [`FLUSH_MS_MAX`]).
pub const OFFER_MS_MIN: u64 = 3 * SECOND_MS;
/// A range is split when its rest takes at least this long.
pub const SPLIT_REST_MS: u64 = 10 * SECOND_MS;
/// The last empty receive on `chunks` is younger than this, or others may be as busy as we are.
pub const SPLIT_EMPTY_RECEIVE_MS: u64 = 20 * SECOND_MS;
/// Ranges are received together that are worked off in this time, at the pace of the last one.
pub const RANGES_AHEAD_MS: u64 = 500;
/// How often a chunk can be split in all: ranges of one log that live at once (H18).
pub const SHARES: u32 = 8;
/// The supervisor looks every clamp(elapsed / 20, MIN, MAX).
pub const SUPERVISE_MS_MIN: u64 = SECOND_MS;
/// The same, when nothing is left to do where the supervisor is.
pub const SUPERVISE_AT_END_MS_MIN: u64 = 250;
pub const SUPERVISE_MS_MAX: u64 = MINUTE_MS;
/// Supervisors that one worker keeps.
pub const SUPERVISORS_MAX: usize = 8;
/// Whoever seals a batch before its source has ended lists its chunks this long after the last put it knows of.
pub const SEAL_SETTLE_MS: u64 = MINUTE_MS;
/// `seal` is refused while the youngest chunk is younger, and a cancelled batch is sealed by its supervisor after it.
pub const SEAL_QUIET_MS: u64 = 10 * MINUTE_MS;
/// The reconciler sends a supervisor again when its batch had no new chunk or part for this long.
pub const SUPERVISOR_LOST_MS: u64 = 2 * HOUR_MS;
/// How far back the reconciler looks for batches without `fired`.
pub const SUPERVISOR_LOST_WITHIN_MS: u64 = 15 * DAY_MS;
/// Tries of a webhook, within an hour.
pub const WEBHOOK_TRIES_MAX: u32 = 10;

// ---- Sources of batches.

/// One line or record of a source; a longer one is a bad record, and is skipped without being held.
pub const RECORD_BYTES_MAX: u64 = PAYLOAD_BYTES_MAX;
/// What is read at a time, and about what is handed on at a time.
pub const SOURCE_BLOCK_BYTES: u64 = 512 * KIB;
pub const SOURCE_ITEMS_MAX: usize = 1_024;
/// Compressed bytes inflated at a time: gzip makes at most 1,032 of one.
pub const INFLATE_PIECE_BYTES: usize = 512;
/// What a zstd stream may have the reader remember.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 25;
pub const CSV_COLUMNS_MAX: usize = 4_096;
/// Names in one folder: they are sorted in memory.
pub const FOLDER_ENTRIES_MAX: usize = 1_000_000;
pub const FOLDER_DEPTH_MAX: usize = 64;
/// Objects of a source that are read side by side, and their bytes together.
pub const OBJECTS_AHEAD_MAX: usize = 32;
pub const OBJECTS_AHEAD_BYTES: u64 = 8 * MIB;

// ---- Requests to store and queue.

pub const REQUEST_TRIES_MAX: u32 = 12;
pub const REQUEST_MS_MAX: u64 = 60 * SECOND_MS;
pub const REQUEST_BACKOFF_MS_MIN: u64 = 50;
pub const REQUEST_BACKOFF_MS_MAX: u64 = 5 * SECOND_MS;
/// Tries to find somebody at an address where nobody was found yet: it is a wrong one, or a service that is not started.
pub const UNREACHED_TRIES_MAX: u32 = 4;
/// A request that is still repeated after this is told of.
pub const REQUEST_TOLD_MS: u64 = 2 * SECOND_MS;
/// How often a change to a definition is tried while others change it too.
pub const DEFINITION_TRIES_MAX: u32 = 16;
/// How long a connection may take.
pub const CONNECT_MS_MAX: u64 = 5 * SECOND_MS;
/// How long an answer may take, beside the time of a long poll or of sending a body.
pub const ANSWER_MS_MAX: u64 = 20 * SECOND_MS;
/// A body is given the time that it takes at this pace.
pub const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 512 * KIB;
/// Keys in one page of a list, and in one delete.
pub const LIST_PAGE_MAX: usize = 1_000;

// ---- Reading back.

/// A body is read in ranges of this many bytes.
pub const READ_PAGE_BYTES: u64 = 8 * MIB;
/// Calls that are looked at side by side.
pub const READ_AHEAD_MAX: usize = 32;
/// Who waits for an outcome looks again after the first of these, growing to the second.
pub const WAIT_LOOK_MS_MIN: u64 = 50;
pub const WAIT_LOOK_MS_MAX: u64 = 2 * SECOND_MS;
/// Parts of a batch that are fetched ahead of whoever reads its rows.
pub const ROWS_AHEAD_BYTES: u64 = 16 * MIB;
/// Results that lie in objects of their own and are read side by side for an export, in bytes; one at the least.
pub const EXPORT_BODIES_BYTES: u64 = 32 * MIB;
/// Columns that the results of a batch are flattened into.
pub const FLATTEN_COLUMNS_MAX: usize = 1_000;
/// A batch is looked at every clamp(watched / 20, MIN, MAX).
pub const WATCH_LOOK_MS_MIN: u64 = SECOND_MS;
pub const WATCH_LOOK_MS_MAX: u64 = 30 * SECOND_MS;
/// Between two looks at a queue that tell whether somebody works on it.
pub const WHY_LOOK_MS: u64 = 1_500;
/// A batch of which nothing was recorded for so long is told of as one that may have lost its workers.
pub const WHY_SILENT_MS: u64 = 10 * SECOND_MS;

// ---- One SQLite file for several processes.

/// How often a lock that another process holds is asked for, and the longest wait in between.
pub const SQLITE_BUSY_TRIES_MAX: u64 = 500;
pub const SQLITE_BUSY_WAIT_MS_MAX: u64 = 20;
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
pub const SQLITE_LOOK_MS_MIN: u64 = 5;
pub const SQLITE_LOOK_MS_MAX: u64 = 50;
/// How often a queue is examined for messages that a clock set back would hide.
pub const SQLITE_EXAMINE_MS: u64 = 5 * SECOND_MS;

// ---- Lists.

pub const LIST_CALLS_DEFAULT: usize = 100;
pub const LIST_BATCHES_DEFAULT: usize = 20;
/// `list calls` stops here with a cursor, however few matched.
pub const LIST_SCAN_MAX: usize = 10_000;
pub const LIST_WINDOW_MS_MIN: u64 = MINUTE_MS;

// ---- The HTTP API.

/// Connections served at a time; further ones wait to be accepted.
pub const API_CONNECTIONS_MAX: usize = 256;
/// Payloads taken in at a time; further requests wait. Bounds memory.
pub const API_PAYLOADS_MAX: usize = 16;
/// How long a client may take to send a request's head, and its body.
pub const API_HEAD_MS_MAX: u64 = 30 * SECOND_MS;
pub const API_BODY_MS_MAX: u64 = 60 * SECOND_MS;
/// How long the caller of a sync function waits for the call to begin; once it has, for as long as it may run.
pub const API_BEGIN_MS_MAX: u64 = 2 * MINUTE_MS;
/// Calls in a list, unless asked for otherwise, and the most that can be asked for (Fn's numbers).
pub const API_LIST_DEFAULT: usize = 30;
pub const API_LIST_MAX: usize = 100;
/// What open requests get to end when the server stops.
pub const API_STOP_MS_MAX: u64 = 5 * SECOND_MS;

// ---- Relations.

const _: () = assert!(
    TIMEOUT_MS_MAX + HAND_OVER_MS + HOUR_MS <= LEASE_MS_MAX,
    "a run that starts last still commits in its lease"
);
const _: () = assert!(LONG_POLL_MS < VISIBILITY_MS, "a received message is leased before the next poll ends");
const _: () =
    assert!(RETRY_IN_PLACE_MS_MAX < VISIBILITY_MS / 3, "a wait in place never outlasts an extension");
const _: () = assert!(
    VISIBILITY_MS_MIN <= VISIBILITY_MS
        && VISIBILITY_MS <= VISIBILITY_MS_MAX
        && VISIBILITY_MS_MAX <= LEASE_MS_MAX,
    "a lease may be as long as it is by default, and never longer than the queue lets it be"
);
const _: () = assert!(
    FLUSH_MS_MIN <= FLUSH_REST_MS_MIN && FLUSH_REST_MS_MIN <= FLUSH_MS_MAX && OFFER_MS_MIN <= FLUSH_MS_MAX,
    "the paces of a range lie between their bounds"
);
const _: () = assert!(SUBMIT_LINGER_MS_MIN <= SUBMIT_LINGER_MS_MAX, "a pause of a pipe has bounds in order");
const _: () = assert!(RETRY_BACKOFF_MS_MAX <= DELAY_MS_MAX, "a retry's wait fits a delayed message");
const _: () =
    assert!(REQUEST_MS_MAX <= VISIBILITY_MS, "a request is given up before a lease of its own length lapses");
const _: () = assert!(
    REQUEST_MS_MAX + ANSWER_MS_MAX < UNSENT_AFTER_MS && UNSENT_AFTER_MS < RESEND_AFTER_MS,
    "whoever stored a call has sent it, or given up, before a repetition sends it, and that is sooner than the reconciler"
);
const _: () = assert!(
    HEADERS_BYTES_MAX + 512 < NOTE_BYTES_MAX && NOTE_REASON_BYTES_MAX + 640 < NOTE_BYTES_MAX,
    "kept headers, and the end of an attempt, fit an object's metadata"
);
const _: () = assert!(
    LONG_POLL_MS + ANSWER_MS_MAX < VISIBILITY_MS,
    "a received message is leased when its answer comes last"
);
const _: () =
    assert!(PUT_BACK_COUNT_MAX * 4 < RECEIVE_COUNT_MAX, "put-backs never reach the queue's redrive");
const _: () =
    assert!(DELETE_AFTER_MS > RETENTION_MS + LEASE_MS_MAX, "nothing late can find its call deleted (H14)");
const _: () = assert!(
    SQLITE_BUSY_TRIES_MAX * SQLITE_BUSY_WAIT_MS_MAX < REQUEST_MS_MAX,
    "a lock is given up while the request may still be repeated"
);
const _: () = assert!(
    RECORD_BYTES_MAX <= CHUNK_BYTES_MAX && 3 * CHUNK_BYTES_MAX <= SUBMIT_BYTES_IN_FLIGHT,
    "a chunk is built and one waits while at least one is on its way"
);
