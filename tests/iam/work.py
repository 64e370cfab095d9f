"""What each role is there for: deploying, submitting, working, cancelling, reading, collecting."""

import datetime
import json
import re
import signal
import subprocess
import time
import urllib.request

from server import ACCOUNT, REGION
from world import PATIENCE, PREFIX, batch, eventually, records, stored

ANOTHERS = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/blue/db"
FUNCTION = """#!/bin/sh
echo heard >&2
case $(cat) in
*slow*) sleep 4; echo slow ;;
*big*) head -c 20000 /dev/zero | tr '\\0' x ;;
*fail*) exit 3 ;;
*) echo fine ;;
esac
"""


def contexts(world):
    """Whoever comes first writes the id of the store; a reader finds it."""
    for role in ("worker", "deployer", "submitter"):
        world.root("s3").delete_object(Bucket=world.bucket, Key=f"{PREFIX}/store")
        world.create_context(role)
    for role in ("canceller", "reader"):
        world.create_context(role)


def deployer(world):
    folder = world.home / "f"
    for app in ("red", "blue"):
        # Names that are folders of the layout too.
        for name in ("f", "calls", "keys"):
            folder.mkdir(exist_ok=True)
            (folder / "func.yaml").write_text(f"name: {name}\nversion: 0.0.1\nruntime: shell\ntype: async\n")
            (folder / "func.sh").write_text(FUNCTION)
            world.afn("deployer", "deploy", "--no-image", "--app", app, "-w", str(folder))
            world.afn("deployer", "config", "function", app, f"/{name}", "KEY", "value")
    world.afn("deployer", "create", "function", "red", "/image", "busybox:1", "--type", "async")
    world.afn("deployer", "config", "app", "red", "KEY", "value")
    world.afn("deployer", "update", "function", "red", "/f", "-c", "MORE=x")
    world.afn("deployer", "unset", "config", "function", "red", "/f", "MORE")
    world.afn("deployer", "create", "app", "green")
    world.afn("deployer", "delete", "function", "blue", "/calls")
    world.afn("deployer", "delete", "app", "green")


def submitter(world):
    """Calls and batches, before any worker runs. What is returned is what the worker shall bring to an end."""
    data = world.root("s3")
    for bucket in ("sources", "outputs"):
        data.put_object(Bucket=bucket, Key="in/a.jsonl", Body=records("a", "b").encode())
    big = world.home / "big.jsonl"
    big.write_text(records("x" * 2_000_000))
    calls = [world.afn("submitter", "submit", "red", "/f", "--idempotency-key", "k", given="slow")]
    batches = [
        batch(world, "s3://sources/in/", "--then", "red/f"),
        batch(world, "s3://outputs/in/"),
        batch(world, "-", "--format", "jsonl", given=records("slow", "big", "fail")),
        batch(world, str(big)),
        # The submitter reads the objects of these, and the worker those of the first two.
        batch(world, "s3://sources/in/", "--pass", "body"),
        batch(world, "s3://outputs/in/", "--pass", "body"),
    ]
    many = records("fail", *["slow"] * 20)
    stopped = [batch(world, "-", "--format", "jsonl", "--max-failures", "1", given=many)]
    cancelled = batch(world, "-", "--format", "jsonl", given=records("slow"))
    world.afn("submitter", "batch", "pause", cancelled)
    world.afn("submitter", "batch", "unpause", cancelled)
    world.afn("submitter", "batch", "cancel", cancelled)
    batches.append(batch(world, "-", "--format", "jsonl", "--max-concurrency", "1", given=records("slow", "slow")))
    # More than the submitter puts on the queue: the supervisor writes down what it sends.
    batches.append(batch(world, "-", "--format", "jsonl", given=records(*["x"] * 1_600)))
    world.afn("submitter", "call", "red", "/f", given="x")
    world.afn("submitter", "batch", "resume", batches[2])
    # It is sealed already.
    world.afn("submitter", "batch", "seal", batches[2], codes=range(0, 10))
    world.afn("submitter", "doctor", codes=(0, 1))
    return calls, batches, stopped + [cancelled]


def lost_submitter(world):
    """A batch whose submitter dies before it has sealed it, and that is then cancelled: workers seal it."""
    before, waiting = stored(world, "batches/"), world.depth("chunks")
    process = world.start(
        "submitter", "batch", "submit", "red", "/f", "-", "--format", "jsonl",
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    process.stdin.write(records("a"))
    process.stdin.flush()
    eventually("the message to its chunk", lambda: world.depth("chunks") > waiting)
    process.kill()
    process.wait()
    (pointer,) = stored(world, "batches/") - before
    identity = pointer.removeprefix("batches/")
    world.afn("submitter", "batch", "cancel", identity)
    world.server.age(world.bucket, minutes=11)
    return identity


def dead_letters(world):
    """Everything that waits is moved to the dead letters, as SQS does after too many receives; `afn dlq` puts it back.
    Garbage is left for the worker to bury."""
    sqs = world.root("sqs")
    for name in ("calls", "chunks", "batches"):
        live, dead = world.queue(name), world.queue(f"{name}-dead")
        while messages := sqs.receive_message(QueueUrl=live, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                sqs.send_message(QueueUrl=dead, MessageBody=message["Body"])
                sqs.delete_message(QueueUrl=live, ReceiptHandle=message["ReceiptHandle"])
    world.afn("worker", "dlq", "list")
    world.afn("worker", "dlq", "redrive", "--all")
    for name in ("calls", "chunks", "batches"):
        sqs.send_message(QueueUrl=world.queue(name), MessageBody="garbage")
    # A worker had the chunks and died: the next one marks them first.
    sqs.receive_message(QueueUrl=world.queue("chunks"), MaxNumberOfMessages=10, VisibilityTimeout=0)


def worker(world):
    calls, batches, cut_short = submitter(world)
    cut_short.append(lost_submitter(world))
    dead_letters(world)
    # No worker without Docker can run these: it leaves word why.
    unsuited = world.afn("submitter", "submit", "red", "/image", given="x")
    unsuited_batch = batch(world, "-", "--format", "jsonl", given=records("x"), route="/image")
    log = (world.home / "worker.log").open("w")
    process = world.start(
        "worker", "worker", "--executor", "process", "-j", "4", "--visibility", "3s", "--data-bucket", "sources",
        "--data-bucket", "outputs", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
    )
    try:
        for call in calls:
            world.afn("reader", "wait", "red", call)
        for identity in batches + cut_short:
            # The exit code tells of calls that failed.
            world.afn("reader", "batch", "wait", identity, codes=range(0, 10))
        for prefix in (f"apps/red/calls/{unsuited}/unsuited/", f"apps/red/batches/{unsuited_batch}/unsuited/"):
            eventually(prefix, lambda: stored(world, prefix))
        world.afn("canceller", "cancel", "red", unsuited)
        world.afn("canceller", "batch", "cancel", unsuited_batch)
        world.afn("submitter", "batch", "retry", batches[2])
        dead = [f"{name}-dead" for name in ("calls", "chunks", "batches")]
        eventually("dead letters", lambda: all(world.depth(name) for name in dead))
    except BaseException:
        print((world.home / "worker.log").read_text()[-4000:], world.denials())
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    world.afn("worker", "dlq", "purge", "--all")
    return calls + [unsuited], batches + cut_short


def panics(world):
    """A worker writes down that a task of it panicked, as `afn` has no panic to offer; who may call sees that."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"v": 1, "worker": "w", "task": "supervisor", "message": "a bug on purpose", "at": now}
    data = world.client("worker", "s3")
    key = f"{PREFIX}/panics/{new_id()}"
    data.put_object(Bucket=world.bucket, Key=key, Body=json.dumps(body).encode(), IfNoneMatch="*")
    for role in ("submitter", "worker"):
        said = world.afn(role, "doctor", codes=(0, 1))
        assert "worker w, supervisor: a bug on purpose" in said, said


def secrets(world):
    """The worker reads what the config of a function names, within its role."""
    for name in ("/red/db", "/both", "/blue/db"):
        world.root("ssm").put_parameter(Name=name, Value=f"hush {name}", Type="SecureString")
    world.root("secretsmanager").create_secret(Name="red/json", SecretString='{"user": "me"}')
    folder = world.home / "secrets"
    folder.mkdir()
    (folder / "func.yaml").write_text("name: secrets\nversion: 0.0.1\nruntime: shell\ntype: async\nretry_backoff: 1ms\n")
    (folder / "func.sh").write_text("echo $DB, $BOTH, $USER_NAME\n")
    world.afn("deployer", "deploy", "--no-image", "--app", "red", "-w", str(folder))
    for key, value in (("DB", "ssm:/red/db"), ("BOTH", "ssm:/both"), ("USER_NAME", "secretsmanager:red/json#user")):
        world.afn("deployer", "config", "function", "red", "/secrets", key, value)

    def called():
        call = world.afn("submitter", "submit", "red", "/secrets", given="x")
        world.afn("worker", "worker", "--executor", "process", "--drain")
        return call

    assert world.afn("reader", "get", "result", "red", called()) == "hush /red/db, hush /both, me"
    world.nothing_was_refused()
    world.afn("deployer", "config", "function", "red", "/secrets", "DB", "ssm:/blue/db")
    call = json.loads(world.afn("reader", "get", "call", "red", called(), "-o", "json"))
    reason = "config `DB`: `ssm:/blue/db` cannot be read: the worker's AWS credentials may not read it"
    assert call["status"] == "error" and call["reason"].startswith(reason), call
    assert all(refused[1:3] == ("ssm:GetParameter", ANOTHERS) for refused in world.gate.refused), world.denials()
    world.gate.refused.clear()


def outputs(world):
    """A function with the worker's role on an instance reads a source and writes an output; `afn` hands it neither. A worker
    reads a version where a batch names one, which lists of S3 do not."""
    data = world.client("worker", "s3")
    for bucket in ("sources", "outputs"):
        world.root("s3").put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        version = world.root("s3").put_object(Bucket=bucket, Key="in/a.jsonl", Body=b"old")["VersionId"]
        world.root("s3").put_object(Bucket=bucket, Key="in/a.jsonl", Body=b"new")
        old = data.get_object(Bucket=bucket, Key="in/a.jsonl", VersionId=version)["Body"].read()
        assert old == b"old", old
        (entry,) = data.list_objects_v2(Bucket=bucket)["Contents"]
        body = data.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
        data.put_object(Bucket=bucket, Key=f"out/{entry['Key']}", Body=body)


def reader(world, calls, batches):
    for call in calls:
        world.afn("reader", "status", call, codes=(0, 1, 2, 3, 4, 5, 6))
    world.afn("reader", "get", "result", "red", calls[0])
    world.afn("reader", "get", "logs", "red", calls[0])
    for identity in batches:
        world.afn("reader", "batch", "status", identity)
    rows = world.afn("reader", "batch", "results", batches[2])
    assert "x" * 20_000 in rows, rows[:1000]
    world.afn("reader", "list", "apps")
    world.afn("reader", "list", "calls", "red")
    world.afn("reader", "inspect", "app", "red")
    world.afn("reader", "inspect", "function", "red", "/f")
    world.afn("reader", "batch", "list", "red")
    world.afn("reader", "batch", "report", batches[2], "--output", "report.html")
    world.afn("reader", "wanted")


def deleted(world, batches):
    world.afn("worker", "batch", "delete", batches[3])
    world.nothing_was_refused()


def alone(world):
    """`afn batch run` deploys, submits and works: a role with the policies of all three."""
    iam = world.root("iam")
    trust = iam.get_role(RoleName=world.roles["reader"])["Role"]["AssumeRolePolicyDocument"]
    role = iam.create_role(RoleName="alone", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    for name in ("Reader", "Deployer", "Submitter", "Worker"):
        iam.attach_role_policy(RoleName="alone", PolicyArn=world.outputs[f"{name}PolicyArn"])
    world.take_on("alone", role["Arn"])
    world.create_context("alone")
    (world.home / "in.txt").write_text("a\nb\n")
    run = ("batch", "run", "--input", "in.txt", "--force", "--output", "out.jsonl", "--", "cat")
    world.afn("alone", *run)
    assert len((world.home / "out.jsonl").read_text().splitlines()) == 2
    # Of the same function and version, and somebody else's: it is for a worker that is told to run everybody's.
    (function,) = json.loads(world.afn("alone", "list", "functions", "batch", "-o", "json"))["functions"]
    submitted = world.afn("submitter", "batch", "submit", "batch", function["route"], "-", "--format", "lines", given="x\n")
    anothers = json.loads(submitted)["batch_id"]
    world.afn("alone", *run)
    assert not stored(world, f"apps/batch/batches/{anothers}/outcomes/")
    served(world, function["route"], anothers)
    world.nothing_was_refused()


def served(world, route, anothers):
    """`afn start` works, submits and reads."""
    log = world.home / "start.log"
    process = world.start(
        "alone", "start", "--port", "0", "--no-token", "--executor", "process",
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log.open("w"),
    )
    try:
        eventually("its address", lambda: re.search("http://[^,]+,", log.read_text()))
        address = re.search("http://[^,]+", log.read_text())[0]
        # moto takes the type that urllib gives by itself for a form, on the way back too.
        plain = {"Content-Type": "text/plain"}
        call = urllib.request.Request(f"{address}/r/batch{route}", data=b"x", headers=plain, method="POST")
        with urllib.request.urlopen(call, timeout=PATIENCE) as answer:
            identity = json.loads(answer.read())["call_id"]
        # Where the worker is root, other users run the command, and they cannot enter its folder.
        world.afn("reader", "wait", "batch", identity, codes=(0, 1))
        eventually("the batch of another", lambda: stored(world, f"apps/batch/batches/{anothers}/summary"))
        with urllib.request.urlopen(f"{address}/v1/apps/batch/calls/{identity}", timeout=PATIENCE) as answer:
            assert json.loads(answer.read())["call"]["status"] in ("success", "error")
    except BaseException:
        print(log.read_text()[-4000:], world.denials())
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def dated(at, rest):
    """An id is a time in its first ten characters, in milliseconds, 32 of them to a digit."""
    return "".join(DIGITS[at >> 5 * place & 31] for place in reversed(range(10))) + rest


def new_id():
    return dated(int(time.time() * 1000), "0" * 15 + "1")


def older(identity, days):
    at = 0
    for digit in identity[:10]:
        at = 32 * at + DIGITS.index(digit)
    return dated(at - days * 86_400_000, identity[10:])


def collected(world):
    """Everything has grown old, ids too, and `afn gc` deletes it: all but what says that a batch was."""
    s3, days = world.root("s3"), 40
    for key in stored(world, ""):
        moved = re.sub(r"/(calls|batches)/([0-9A-Z]{26})/", lambda m: f"/{m[1]}/{older(m[2], days)}/", key)
        if moved != key:
            body = s3.get_object(Bucket=world.bucket, Key=f"{PREFIX}/{key}")["Body"].read()
            s3.put_object(Bucket=world.bucket, Key=f"{PREFIX}/{moved}", Body=body)
            s3.delete_object(Bucket=world.bucket, Key=f"{PREFIX}/{key}")
    world.server.age(world.bucket, days=days)
    before = stored(world, "")
    over = {key.removesuffix("summary") for key in before if key.endswith("/summary")}
    decided = {key.removesuffix("status") for key in before if key.endswith("/status")}
    world.afn("worker", "gc", "--all")
    left = stored(world, "")
    assert not [key for key in left if key.startswith(tuple(decided))], left
    stay = {f"{batch}{name}" for batch in over for name in ("summary", "fired", "deleted")}
    assert {key for key in left if key.startswith(tuple(over))} <= stay, left
    assert not [key for key in left if "/keys/" in key and "/functions/" not in key or re.match("reconciled/[0-9]|panics/", key)], left
    # Long after that nothing is left that says that a batch was.
    world.server.age(world.bucket, days=days)
    world.afn("worker", "gc", "--all")
    left = stored(world, "")
    assert not [key for key in left if key.startswith(tuple(over))], left
    # With the watermarks of the one before.
    world.afn("worker", "gc")
