import io
import json

import fdk
from fdk import customer_code, response


def handler(ctx, data: io.BytesIO = None):
    """Runs one call. What it returns is the answer, an exception fails the call, what is printed goes into its log."""
    body = data.getvalue()
    person = json.loads(body) if body else {"name": "World"}
    print("greeting", person["name"], flush=True)
    return response.Response(
        ctx,
        response_data=json.dumps({"message": "Hello " + person["name"]}),
        headers={"Content-Type": "application/json"},
    )


if __name__ == "__main__":
    fdk.handle(customer_code.Function(__file__, entrypoint="handler"))
