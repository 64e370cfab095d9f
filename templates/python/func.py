import json

import serve


def handle(call):
    """Runs one call. What it returns is the answer: bytes and str as they are, anything else as JSON.
    An exception fails the call, with its text as the reason. What is printed goes into the call's log."""
    name = name_in(call.body.decode().strip())
    print("greeting", name)
    return f"Hello {name}\n"


def name_in(text):
    """Of a payload that is a name, or JSON with one, or empty."""
    if not text.startswith("{"):
        return text or "World"
    try:
        return json.loads(text)["name"]
    except (ValueError, KeyError):
        raise ValueError('the payload is no name and no JSON like {"name": "Ada"}') from None


if __name__ == "__main__":
    serve.forever(handle)
