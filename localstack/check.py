# Checks compose.yaml where no registry is at hand to run it: by the Compose specification's schema, whose file is the
# argument, and against what `up` starts on the host. Run by `sh tests/run`, with the Python of LocalStack.

import json
import pathlib
import re
import sys

import jsonschema
import yaml

here = pathlib.Path(__file__).parent
compose = yaml.safe_load((here / "compose.yaml").read_text())
jsonschema.validate(compose, json.loads(pathlib.Path(sys.argv[1]).read_text()))

service = compose["services"]["localstack"]
pinned = re.search(r"^localstack-core==(.+)$", (here / "pins.txt").read_text(), re.MULTILINE).group(1)
assert service["image"] == "localstack/localstack:" + pinned, f"image and pins.txt differ: {pinned}"
services = re.search(r"^services=(.+)$", (here / "place.sh").read_text(), re.MULTILINE).group(1)
assert service["environment"]["SERVICES"] == services, f"services differ: {services}"
for port in service["ports"]:
    assert port.startswith("127.0.0.1:"), f"port {port} is open to other machines"
for volume in service["volumes"]:
    assert (here / volume.split(":")[0]).is_file(), f"{volume} is not there"
