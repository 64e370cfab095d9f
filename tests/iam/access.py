"""Decides what a set of policies lets its holder do, as IAM documents it, and which parts of them were needed for it.

moto has an evaluator of its own, but it knows no conditions of requests and denies where one does not hold, takes
`.` and `?` of a pattern for those of a regular expression, and asks for actions that AWS does not know
(`sqs:SendMessageBatch`). Hence this one.
"""

import re

# An operator that is not here ends the test, instead of being taken for true.
OPERATORS = ("StringEquals", "StringLike", "Null", "Bool")


def listed(value):
    return value if isinstance(value, list) else [value]


def matches(pattern, text):
    """`*` is any characters, slashes too; `?` is one; all else stands for itself."""
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(c, re.escape(c)) for c in pattern), text, re.DOTALL) is not None


def holds(operator, key, wanted, context):
    """One line of a condition. `context` has a key only when the request has it."""
    name = operator.removesuffix("IfExists")
    if name not in OPERATORS:
        raise NotImplementedError(f"condition operator {operator}")
    found = context.get(key)
    if name == "Null":
        return (found is None) == (wanted == ["true"])
    if found is None:
        return operator.endswith("IfExists")
    if name == "StringLike":
        return any(matches(pattern, found) for pattern in wanted)
    return found in wanted


def applies(statement, context):
    return all(
        holds(operator, key, listed(wanted), context)
        for operator, lines in statement.get("Condition", {}).items()
        for key, wanted in lines.items()
    )


class Policy:
    """A document under the name of its resource in the template."""

    def __init__(self, name, document):
        self.name = name
        self.statements = listed(document["Statement"])

    def grants(self):
        """Every (policy, statement, action, resource) that is allowed."""
        for statement in self.statements:
            if statement["Effect"] == "Allow":
                for action in listed(statement["Action"]):
                    for resource in listed(statement["Resource"]):
                        yield (self.name, statement["Sid"], action, resource)


class Decision:
    def __init__(self):
        self.allowed = False
        # What allowed it, and the Sid of what denied it.
        self.by = set()
        self.denied_by = None


def decide(policies, action, resource, context):
    """A deny that applies wins over every allow; without an allow the answer is no."""
    decision = Decision()
    for policy in policies:
        for statement in policy.statements:
            actions = [a for a in listed(statement["Action"]) if matches(a, action)]
            resources = [r for r in listed(statement["Resource"]) if matches(r, resource)]
            if not actions or not resources or not applies(statement, context):
                continue
            if statement["Effect"] == "Deny":
                decision.denied_by = statement["Sid"]
            else:
                decision.by |= {(policy.name, statement["Sid"], a, r) for a in actions for r in resources}
    decision.allowed = bool(decision.by) and decision.denied_by is None
    return decision


def trusts(document, service, context):
    """Whether a role's trust policy lets a service take the role on."""
    return any(
        statement["Effect"] == "Allow"
        and service in listed(statement["Principal"].get("Service", []))
        and applies(statement, context)
        for statement in listed(document["Statement"])
    )
