import io
import json

import fdk
from fdk import customer_code, response


def handler(ctx, data: io.BytesIO = None):
    """Runs one call. What it returns is the answer, an exception fails the call, what is printed goes into its log."""
    name = name_in(data.getvalue().decode().strip())
    print("greeting", name, flush=True)
    return response.Response(ctx, response_data=f"Hello {name}\n", headers={"Content-Type": "text/plain; charset=utf-8"})


def name_in(text):
    """Of a payload that is a name, or JSON with one, or empty."""
    if not text.startswith("{"):
        return text or "World"
    try:
        return json.loads(text)["name"]
    except (ValueError, KeyError):
        raise ValueError('the payload is no name and no JSON like {"name": "Ada"}') from None


if __name__ == "__main__":
    fdk.handle(customer_code.Function(__file__, entrypoint="handler"))
