"""What a role may not do, and that it may do nothing that it never needs."""

import json

import access
import botocore.exceptions
from server import ACCOUNT
from world import PREFIX, batch, records

# A managed policy may have so many characters; spaces are not counted.
POLICY_CHARACTERS_MAX = 6_144
ID = "01M8679VJPJ4ZEESTD00000001"
SHA = "0" * 64
# Who may create what, kind by kind of src/layout/key.rs. Anyone else may not.
WRITERS = {
    "apps/red/app": "deployer",
    "apps/red/routes/%2Ff": "deployer",
    "apps/red/functions/f/current": "deployer",
    "apps/red/functions/calls/current": "deployer",
    "apps/red/functions/batches/current": "deployer",
    "apps/red/functions/keys/current": "deployer",
    "apps/red/functions/archives/current": "deployer",
    "apps/red/functions/f/versions/0.0.1-0123456789ab": "deployer",
    "apps/red/functions/calls/versions/0.0.1-0123456789ab": "deployer",
    f"apps/red/archives/{SHA}": "deployer",
    f"apps/red/keys/{SHA}": "submitter canceller",
    f"apps/red/calls/{ID}/payload": "submitter canceller worker",
    f"apps/red/calls/{ID}/started/m.1": "worker",
    f"apps/red/calls/{ID}/started/m.1.void": "worker",
    f"apps/red/calls/{ID}/unsuited/m": "worker",
    f"apps/red/calls/{ID}/result/m.1.1": "worker",
    f"apps/red/calls/{ID}/log/m.1.1": "worker",
    f"apps/red/calls/{ID}/status": "canceller worker",
    f"batches/{ID}": "submitter canceller",
    f"apps/red/batches/{ID}/batch": "submitter canceller",
    f"apps/red/batches/{ID}/payloads/00000001.parquet": "submitter canceller",
    f"apps/red/batches/{ID}/inputs/00000001": "submitter canceller",
    f"apps/red/batches/{ID}/sealed": "submitter canceller worker",
    f"apps/red/batches/{ID}/outcomes/00000001/000000.parquet": "worker",
    f"apps/red/batches/{ID}/results/00000001-m.1.1": "worker",
    f"apps/red/batches/{ID}/marks/00000001/m.1.1": "worker",
    f"apps/red/batches/{ID}/marks/00000001/m.1.void": "worker",
    f"apps/red/batches/{ID}/unsuited/{SHA}": "worker",
    f"apps/red/batches/{ID}/dispatched/0": "worker",
    f"apps/red/batches/{ID}/cancelled": "submitter canceller worker",
    f"apps/red/batches/{ID}/summary": "worker",
    f"apps/red/batches/{ID}/retries/1": "submitter canceller",
    f"apps/red/batches/{ID}/fired": "worker",
    f"apps/red/controls/{ID}": "submitter canceller",
    f"apps/red/shares/{ID}": "worker",
    f"apps/red/batches/{ID}/deleted": "worker",
    # An administrator's alone.
    "settings": "",
    "store": "deployer submitter canceller worker",
    "reconciled/00000001": "worker",
    f"reconciled/watermarks/{ID}": "worker",
    f"panics/{ID}": "worker",
    "probes/nonce": "submitter canceller worker",
}

# Who may delete it. What is not here the worker deletes, when it has had its time.
DELETERS = {
    key: "deployer" for key in WRITERS if key == "apps/red/app" or "/routes/" in key or key.endswith("/current")
} | {
    # Accepted calls run on the version of their time; an administrator alone deletes these.
    key: "" for key in WRITERS if "/versions/" in key or key in (f"apps/red/archives/{SHA}", "settings", "store")
} | {"probes/nonce": "submitter canceller worker"}


def refused(what, ask):
    try:
        ask()
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException"), (what, error)
        return
    raise AssertionError(f"not refused: {what}")


def writers(world):
    """Each role and each kind of object, by the policies and their conditions."""
    roles = ("reader", "deployer", "submitter", "canceller", "worker")
    arns = {key: f"arn:aws:s3:::{world.bucket}/{PREFIX}/{key}" for key in WRITERS}
    in_bucket = world.gate.bucket_policies[world.bucket]
    for policy in world.policies("reader") + in_bucket:
        for statement in policy.statements:
            if statement["Sid"] in ("FactsOnce", "DefinitionsBySwap"):
                for resource in statement["Resource"]:
                    hit = any(access.matches(resource, arn) for arn in arns.values())
                    assert hit, f"{statement['Sid']} denies what nobody writes: {resource}"
    plain = access.decide(in_bucket, "s3:GetObject", arns["store"], {"aws:SecureTransport": "false"})
    assert plain.denied_by == "TlsOnly"
    for key, allowed in WRITERS.items():
        arn = arns[key]
        for role in roles:
            create = access.decide(world.policies(role), "s3:PutObject", arn, {"s3:if-none-match": "*"})
            assert create.allowed == (role in allowed.split()), f"{role} creates {key}: {create.allowed}"
            delete = access.decide(world.policies(role), "s3:DeleteObject", arn, {})
            assert delete.allowed == (role in DELETERS.get(key, "worker").split()), f"{role} deletes {key}: {delete.allowed}"
            # Over what stands: a definition alone, and only over the one that was read.
            swap = access.decide(world.policies(role), "s3:PutObject", arn, {"s3:if-match": "etag"})
            is_definition = key.endswith(("/app", "/current")) or any(
                folder in key for folder in ("/routes/", "/controls/", "/shares/")
            )
            assert swap.allowed == (create.allowed and is_definition), f"{role} replaces {key}: {swap.allowed}"
            for policies in (world.policies(role), in_bucket):
                blind = access.decide(policies, "s3:PutObject", arn, {})
                assert blind.denied_by in ("FactsOnce", "DefinitionsBySwap"), f"{role} overwrites {key}"


def refusals(world):
    """Requests that must fail, over the wire."""
    at = lambda key: {"Bucket": world.bucket, "Key": f"{PREFIX}/{key}"}
    status, summary = f"apps/red/calls/{ID}/status", f"apps/red/batches/{ID}/summary"
    for role, key in [
        ("submitter", status),
        ("submitter", summary),
        ("submitter", f"apps/red/batches/{ID}/marks/00000001/m.1.1"),
        ("submitter", f"apps/red/batches/{ID}/outcomes/00000001/000000.parquet"),
        ("submitter", "apps/red/functions/f/current"),
        ("deployer", f"apps/red/calls/{ID}/payload"),
        ("worker", "apps/red/functions/f/current"),
        ("worker", "apps/red/functions/calls/current"),
        ("reader", f"probes/{ID}"),
    ]:
        refused(f"{role} creates {key}", lambda: world.client(role, "s3").put_object(**at(key), IfNoneMatch="*"))
    for role, key in [("worker", status), ("worker", summary), ("deployer", f"apps/red/archives/{SHA}")]:
        refused(f"{role} overwrites {key}", lambda: world.client(role, "s3").put_object(**at(key)))
    # Without its header the same request is another one.
    world.client("worker", "s3").put_object(**at(status), IfNoneMatch="*")
    for role in ("submitter", "deployer", "reader"):
        sqs = world.client(role, "sqs")
        refused(f"{role} receives", lambda: sqs.receive_message(QueueUrl=world.queue("calls")))
    sqs = world.client("deployer", "sqs")
    refused("deployer sends", lambda: sqs.send_message(QueueUrl=world.queue("calls"), MessageBody="x"))
    refused("reader reads data", lambda: world.client("reader", "s3").get_object(Bucket="sources", Key="in/a.jsonl"))
    refused("submitter writes data", lambda: world.client("submitter", "s3").put_object(Bucket="outputs", Key="x"))
    for role, args in [
        ("deployer", ["submit", "red", "/f"]),
        ("submitter", ["create", "app", "yellow"]),
        ("submitter", ["delete", "function", "red", "/f"]),
        ("reader", ["submit", "red", "/f"]),
        ("worker", ["create", "app", "yellow"]),
    ]:
        before = len(world.gate.refused)
        world.afn(role, *args, codes=range(1, 100))
        assert len(world.gate.refused) > before, f"{role} {args} failed for another reason"


def team(world):
    """Roles of the app `red` beside the app `blue`."""
    for role in ("deployer", "submitter", "reader", "canceller"):
        world.create_context(f"team {role}", "team")
    world.afn("team deployer", "config", "function", "red", "/f", "KEY", "value")
    call = world.afn("team submitter", "submit", "red", "/f", given="x")
    world.afn("team reader", "status", "red", call)
    batch(world, "-", "--format", "jsonl", given=records("x"), role="team submitter")
    world.afn("team canceller", "cancel", "red", call)
    world.nothing_was_refused()
    s3 = {role: world.client(f"team {role}", "s3") for role in ("deployer", "submitter", "canceller", "reader")}
    at = lambda key: {"Bucket": world.bucket, "Key": f"{PREFIX}/apps/blue/{key}"}
    refused("deploy", lambda: s3["deployer"].put_object(**at("functions/f/current"), IfMatch="x"))
    refused("undeploy", lambda: s3["deployer"].delete_object(**at("functions/f/current")))
    refused("submit", lambda: s3["submitter"].put_object(**at(f"calls/{ID}/payload"), IfNoneMatch="*"))
    refused("cancel", lambda: s3["canceller"].put_object(**at(f"calls/{ID}/status"), IfNoneMatch="*"))
    refused("read", lambda: s3["reader"].get_object(**at("functions/f/current")))
    refused("list", lambda: s3["reader"].list_objects_v2(Bucket=world.bucket, Prefix=f"{PREFIX}/apps/blue/"))
    refused("list all", lambda: s3["reader"].list_objects_v2(Bucket=world.bucket, Prefix=f"{PREFIX}/apps/"))
    # What SECURITY.md says that it does not keep from anybody who may list.
    named = s3["reader"].list_objects_v2(Bucket=world.bucket)["Contents"]
    assert any(not entry["Key"].startswith(f"{PREFIX}/apps/red/") for entry in named), named
    world.gate.refused.clear()


def templates(world, template):
    """What the parameters make, and that no policy is longer than IAM takes."""
    roles = ["reader", "deployer", "submitter", "canceller", "worker", "team submitter"]
    for policy in {policy.name: policy for role in roles for policy in world.policies(role)}.values():
        size = len("".join(json.dumps(policy.statements).split()))
        assert size <= POLICY_CHARACTERS_MAX - 50, f"{policy.name} has {size} characters"
    assert "team worker" not in world.roles
    world.root("s3").create_bucket(Bucket="theirs")
    beside = world.server.stack("beside", template, BucketName="theirs", BucketExists="yes")
    assert beside["BucketName"] == "theirs"
    world.take_on("beside worker", beside["WorkerRoleArn"])
    arn = f"arn:aws:s3:::theirs/apps/red/calls/{ID}/status"
    create = access.decide(world.policies("beside worker"), "s3:PutObject", arn, {"s3:if-none-match": "*"})
    blind = access.decide(world.policies("beside worker"), "s3:PutObject", arn, {})
    assert create.allowed and blind.denied_by == "FactsOnce"


def trust(world):
    role = world.root("iam").get_role(RoleName=world.roles["worker"])["Role"]["AssumeRolePolicyDocument"]
    here, there = {"aws:SourceAccount": ACCOUNT}, {"aws:SourceAccount": "999999999999"}
    assert access.trusts(role, "ecs-tasks.amazonaws.com", here)
    assert not access.trusts(role, "ecs-tasks.amazonaws.com", there)
    assert not access.trusts(role, "ecs-tasks.amazonaws.com", {})
    assert access.trusts(role, "ec2.amazonaws.com", {})


def unused(world):
    """Every action on every resource that a policy grants was needed by some command above."""
    policies = [policy for role in ("canceller", "deployer", "worker") for policy in world.policies(role)]
    left = {grant for policy in policies for grant in policy.grants()} - world.gate.used
    short = lambda resource: resource.replace("?" * 64, "SHA256").replace("?" * 26, "ID")
    assert not left, "never needed:\n" + "\n".join(f"{p} {s}: {a} on {short(r)}" for p, s, a, r in sorted(left))
