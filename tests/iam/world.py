"""The stack on moto, and the `afn` binary in the hands of each of its roles."""

import json
import os
import subprocess
import time

from server import ACCOUNT, REGION, Server

PREFIX = "p"
KMS_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0aa11bb2-3c4d-5e6f-8a9b-0c1d2e3f4a5b"
# What is waited for takes seconds, more on a busy machine.
PATIENCE = 120


class World:
    def __init__(self, afn, template, home):
        self.afn_path, self.home = afn, home
        self.server = Server()
        self.gate = self.server.gate
        self.roles, self.credentials = {}, {}
        for bucket in ("sources", "outputs"):
            self.root("s3").create_bucket(Bucket=bucket)
        self.outputs = self.server.stack(
            "afn", template, Prefix=PREFIX, KmsKeyArn=KMS_KEY, DataBuckets="sources,outputs",
            ParameterArns=f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/red/*,arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/both",
            SecretArns=f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:red/*",
        )
        self.bucket = self.outputs["BucketName"]
        team = self.server.stack(
            "team", template, AppName="red", BucketName=self.bucket, Prefix=PREFIX, QueueBaseName="afn",
            KmsKeyArn=KMS_KEY,
        )
        for prefix, outputs in (("", self.outputs), ("team ", team)):
            for name in ("Reader", "Deployer", "Submitter", "Canceller", "Worker"):
                if f"{name}RoleArn" in outputs:
                    self.take_on(prefix + name.lower(), outputs[f"{name}RoleArn"])

    def root(self, service):
        return self.server.client(service)

    def take_on(self, name, arn):
        taken = self.root("sts").assume_role(RoleArn=arn, RoleSessionName=name.replace(" ", "-"))["Credentials"]
        self.roles[name] = arn.rsplit("/", 1)[1]
        self.credentials[name] = taken["AccessKeyId"], taken["SecretAccessKey"], taken["SessionToken"]

    def policies(self, role):
        return self.gate.policies(self.roles[role])

    def client(self, role, service):
        return self.server.client(service, *self.credentials[role])

    def environment(self, role):
        key, secret, token = self.credentials[role]
        keep = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        return keep | {
            "HOME": str(self.home),
            "AFN_HOME": str(self.home / role.replace(" ", "-")),
            "AFN_DATA_DIR": str(self.home / "data"),
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_SESSION_TOKEN": token,
            "AWS_REGION": REGION,
            "USER": role,
        }

    def start(self, role, *args, **pipes):
        command = [self.afn_path, *args]
        return subprocess.Popen(command, env=self.environment(role), cwd=self.home, text=True, **pipes)

    def afn(self, role, *args, given="", codes=(0,)):
        pipe = subprocess.PIPE
        process = self.start(role, *args, stdin=pipe, stdout=pipe, stderr=pipe)
        out, err = process.communicate(given, timeout=PATIENCE)
        if process.returncode not in codes:
            ended = f"{role}: afn {' '.join(args)} ended with {process.returncode}"
            raise AssertionError(f"{ended}\n{out}{err}\n{self.denials()}")
        return out.strip()

    def create_context(self, role, stack="afn"):
        options = ["--kind", "localstack", "--endpoint", self.server.url, "--from-stack", stack]
        self.afn(role, "context", "create", "core", *options)
        self.afn(role, "context", "use", "core")

    def denials(self):
        return "\n".join(f"refused: {' '.join(map(str, refused))}" for refused in self.gate.refused)

    def nothing_was_refused(self):
        assert not self.gate.refused, self.denials()

    def queue(self, name):
        return self.root("sqs").get_queue_url(QueueName=f"afn-{name}")["QueueUrl"]

    def depth(self, name):
        asked = self.root("sqs").get_queue_attributes(QueueUrl=self.queue(name), AttributeNames=["All"])
        return int(asked["Attributes"]["ApproximateNumberOfMessages"])


def eventually(what, found):
    until = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < until, f"not within {PATIENCE} s: {what}"
        time.sleep(0.1)


def stored(world, prefix):
    pages = world.root("s3").get_paginator("list_objects_v2").paginate(Bucket=world.bucket, Prefix=f"{PREFIX}/{prefix}")
    return {entry["Key"].removeprefix(f"{PREFIX}/") for page in pages for entry in page.get("Contents", [])}


def records(*texts):
    return "".join(json.dumps(text) + "\n" for text in texts)


def batch(world, source, *options, given="", route="/f", role="submitter"):
    submitted = world.afn(role, "batch", "submit", "red", route, source, *options, given=given)
    return json.loads(submitted)["batch_id"]
