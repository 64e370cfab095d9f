"""moto behind a gate: S3, SQS, SSM, Secrets Manager, CloudFormation, IAM and STS in this process, where whoever is not `root` may do what the
policies of its role say. Policies and roles are those that moto's CloudFormation made of the template."""

import io
import json
import re
import threading
from datetime import timedelta
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

import access
import boto3
import moto.cloudformation.parsing as parsing
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.cloudformation.models import cloudformation_backends
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends
from werkzeug.serving import WSGIRequestHandler, make_server

REGION = "us-east-1"
# SQS has no permissions of its own for the requests that carry several messages.
SQS_ACTIONS = {
    "SendMessageBatch": "SendMessage",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
# What S3 and SQS ask of a KMS key on behalf of the caller.
KMS_ACTIONS = {
    "s3:GetObject": ["kms:Decrypt"],
    "s3:GetObjectVersion": ["kms:Decrypt"],
    "s3:PutObject": ["kms:GenerateDataKey"],
    "sqs:ReceiveMessage": ["kms:Decrypt"],
    "sqs:SendMessage": ["kms:GenerateDataKey", "kms:Decrypt"],
}


def without_no_value(clean):
    """moto leaves a `null` in a list where `AWS::NoValue` stood; CloudFormation leaves nothing."""

    def cleaned(value, resources):
        value = clean(value, resources)
        return [entry for entry in value if entry is not None] if isinstance(value, list) else value

    return cleaned


parsing.clean_json = without_no_value(parsing.clean_json)


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


class Request:
    """What IAM sees of a request: the caller's key, and each (action, resource, context) that it needs."""

    def __init__(self, environ):
        self.method = environ["REQUEST_METHOD"]
        self.path = unquote(environ["PATH_INFO"])
        self.query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
        signed = re.search(
            r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/", environ.get("HTTP_AUTHORIZATION", "")
        )
        self.key, self.service = signed.groups() if signed else (None, None)
        self.environ = environ

    def body(self):
        """Read, and put back for moto."""
        length = int(self.environ.get("CONTENT_LENGTH") or 0)
        body = self.environ["wsgi.input"].read(length)
        self.environ["wsgi.input"] = io.BytesIO(body)
        return body

    def needs(self):
        known = {
            "s3": self.s3,
            "sqs": self.sqs,
            "cloudformation": self.cloudformation,
            "ssm": self.ssm,
            "secretsmanager": self.secretsmanager,
        }
        return known.get(self.service, lambda: [self.unknown()])()

    def unknown(self):
        return (f"{self.service}:unknown", f"{self.method} {self.path} {sorted(self.query)}", {})

    def s3(self):
        bucket, _, key = self.path.lstrip("/").partition("/")
        arn = f"arn:aws:s3:::{bucket}"
        if self.method == "POST" and "delete" in self.query:
            keys = re.findall(rb"<Key>(.*?)</Key>", self.body())
            return [("s3:DeleteObject", f"{arn}/{key.decode()}", {}) for key in keys]
        if not key:
            prefix = self.query.get("prefix")
            listing = {"s3:prefix": prefix[0]} if prefix else {}
            return [("s3:ListBucket", arn, listing)] if self.method in ("GET", "HEAD") else [self.unknown()]
        if self.method in ("GET", "HEAD"):
            action = "s3:GetObjectVersion" if "versionId" in self.query else "s3:GetObject"
            return [(action, f"{arn}/{key}", {})]
        if self.method != "PUT" or "HTTP_X_AMZ_COPY_SOURCE" in self.environ:
            return [self.unknown()]
        headers = {"s3:if-none-match": "HTTP_IF_NONE_MATCH", "s3:if-match": "HTTP_IF_MATCH"}
        context = {name: self.environ[header] for name, header in headers.items() if header in self.environ}
        return [("s3:PutObject", f"{arn}/{key}", context)]

    def sqs(self):
        action = self.environ.get("HTTP_X_AMZ_TARGET", "").removeprefix("AmazonSQS.")
        asked = json.loads(self.body())
        name = asked.get("QueueName") or asked["QueueUrl"].rsplit("/", 1)[1]
        return [(f"sqs:{SQS_ACTIONS.get(action, action)}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}", {})]

    def ssm(self):
        action = self.environ.get("HTTP_X_AMZ_TARGET", "").removeprefix("AmazonSSM.")
        name = json.loads(self.body())["Name"]
        return [(f"ssm:{action}", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name.lstrip('/')}", {})]

    def secretsmanager(self):
        action = self.environ.get("HTTP_X_AMZ_TARGET", "").removeprefix("secretsmanager.")
        name = json.loads(self.body())["SecretId"]
        found = secretsmanager_backends[ACCOUNT][REGION].secrets.get(name)
        arn = found.arn if found else f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}"
        return [(f"secretsmanager:{action}", arn, {})]

    def cloudformation(self):
        asked = parse_qs(self.body().decode())
        name = asked.get("StackName", ["*"])[0]
        stacks = cloudformation_backends[ACCOUNT][REGION].stacks
        found = [stack.stack_id for stack in stacks.values() if stack.name == name]
        return [(f"cloudformation:{asked['Action'][0]}", (found or [name])[0], {})]


class Gate:
    """The WSGI application in front of moto."""

    def __init__(self):
        self.moto = DomainDispatcherApplication(create_backend_app)
        self.roles = {}
        # Bucket policies by bucket: moto's CloudFormation makes none.
        self.bucket_policies = {}
        # The key of encrypted buckets, and of all queues.
        self.kms_key = None
        self.encrypted = set()
        self.used = set()
        # (role, action, resource, Sid of the deny or None) of what was refused.
        self.refused = []
        self.lock = threading.Lock()

    def policies(self, role):
        if role not in self.roles:
            attached, _ = iam_backends[ACCOUNT]["aws"].list_attached_role_policies(role)
            self.roles[role] = [access.Policy(named(policy), json.loads(document(policy))) for policy in attached]
        return self.roles[role]

    def role(self, key):
        for assumed in sts_backends[ACCOUNT]["aws"].assumed_roles:
            if assumed.access_key_id == key:
                return assumed.role_arn.rsplit("/", 1)[1]
        return None

    def decide(self, role, policies, need):
        action, resource, context = need
        decision = access.decide(policies, action, resource, context)
        bucket = resource.removeprefix("arn:aws:s3:::").split("/")[0]
        for policy in self.bucket_policies.get(bucket, []):
            denied = access.decide([policy], action, resource, {**context, "aws:SecureTransport": "true"})
            if denied.denied_by:
                decision.allowed, decision.denied_by = False, f"bucket policy: {denied.denied_by}"
        for kms in KMS_ACTIONS.get(action, []) if decision.allowed else []:
            service = action.split(":")[0]
            if self.kms_key and (service == "sqs" or bucket in self.encrypted):
                via = {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"}
                key = access.decide(policies, kms, self.kms_key, via)
                decision.allowed = key.allowed
                decision.by |= key.by
        with self.lock:
            if decision.allowed:
                self.used |= decision.by
            else:
                self.refused.append((role, action, resource, decision.denied_by))
        return decision.allowed

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.key == "root" or request.service == "sts":
            return self.moto(environ, start_response)
        role = self.role(request.key)
        if role is None:
            return deny(request, start_response)
        policies = self.policies(role)
        needs = request.needs()
        if not all([self.decide(role, policies, need) for need in needs]):
            return deny(request, start_response, [resource for _, resource, _ in needs])
        if needs[0][0] == "s3:GetObject" and absent(needs[0][1]):
            # Who may not list is not told that there is nothing.
            bucket = needs[0][1].split("/")[0]
            if not self.decide(role, policies, ("s3:ListBucket", bucket, {})):
                return deny(request, start_response)
        return self.moto(environ, start_response)


def named(policy):
    """`afn-ReaderPolicy-4DB8TQTHBIA3` is `ReaderPolicy` in the template of the stack `afn`."""
    return policy.name.split("-")[1]


def document(policy):
    return next(version for version in policy.versions if version.is_default).document


def absent(arn):
    bucket, _, key = arn.removeprefix("arn:aws:s3:::").partition("/")
    return s3_backends[ACCOUNT]["aws"].get_object(bucket, key) is None


def deny(request, start_response, resources=()):
    """As each service answers; S3 refuses single objects of a deletion within an answer that is fine."""
    if request.service == "sqs":
        kind, status = "application/x-amz-json-1.0", "403 Forbidden"
        body = json.dumps({"__type": "com.amazon.coral.service#AccessDeniedException", "message": "denied"})
    elif request.service in ("ssm", "secretsmanager"):
        kind, status = "application/x-amz-json-1.1", "400 Bad Request"
        body = json.dumps({"__type": "AccessDeniedException", "Message": "denied"})
    elif request.method == "POST" and "delete" in request.query:
        kind, status = "application/xml", "200 OK"
        keys = [resource.partition("/")[2] for resource in resources]
        errors = [
            f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            for key in keys
        ]
        body = f"<DeleteResult>{''.join(errors)}</DeleteResult>"
    else:
        kind, status = "application/xml", "403 Forbidden"
        error = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        body = f"<ErrorResponse>{error}</ErrorResponse>" if request.service == "cloudformation" else error
    body = b"" if request.method == "HEAD" else body.encode()
    # What was sent must be read, or the client sees a broken connection instead of the answer.
    request.body()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


class Server:
    def __init__(self):
        self.gate = Gate()
        self.http = make_server("127.0.0.1", 0, self.gate, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def client(self, service, key="root", secret="root", token=None):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
        )

    def stack(self, name, template, **parameters):
        """Makes a stack; its outputs."""
        listed = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
        client = self.client("cloudformation")
        client.create_stack(
            StackName=name, TemplateBody=template, Parameters=listed, Capabilities=["CAPABILITY_IAM"]
        )
        described = client.describe_stacks(StackName=name)["Stacks"][0]
        assert described["StackStatus"] == "CREATE_COMPLETE", described
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        stacks = cloudformation_backends[ACCOUNT][REGION].stacks
        resources = next(stack for stack in stacks.values() if stack.name == name).resource_map
        self.complete(resources, outputs["BucketName"], parameters.get("KmsKeyArn"))
        return outputs

    def complete(self, resources, bucket, kms_key):
        """What moto's CloudFormation leaves out: it attaches no policies to roles and makes no bucket's policy."""
        for logical, resource in resources._resource_json_map.items():
            condition, properties = resource.get("Condition"), resource["Properties"]
            if condition and not resources.lazy_condition_map[condition]:
                continue
            if resource["Type"] == "AWS::IAM::Role":
                for arn in parsing.clean_json(properties["ManagedPolicyArns"], resources):
                    iam_backends[ACCOUNT]["aws"].attach_role_policy(arn, resources[logical].name)
            elif resource["Type"] == "AWS::S3::BucketPolicy":
                document = parsing.clean_json(properties["PolicyDocument"], resources)
                self.gate.bucket_policies[bucket] = [access.Policy(logical, document)]
                if kms_key:
                    self.gate.kms_key = kms_key
                    self.gate.encrypted.add(bucket)

    def age(self, bucket, **by):
        """Makes everything in the bucket older, by the store's clock too, which afn reads off a new object."""
        for key in s3_backends[ACCOUNT]["aws"].get_bucket(bucket).keys.values():
            key.last_modified -= timedelta(**by)
