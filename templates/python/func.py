import json

import serve


def handle(call):
    """Runs one call. What it returns is the answer: bytes and str as they are, anything else as JSON.
    An exception fails the call, with its text as the reason. What is printed goes into the call's log."""
    person = json.loads(call.body) if call.body else {"name": "World"}
    print("greeting", person["name"])
    return {"message": "Hello " + person["name"]}


if __name__ == "__main__":
    serve.forever(handle)
