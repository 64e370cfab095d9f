"""Every role of infra/core.yaml at work: the `afn` binary as deployer, submitter, worker, canceller and reader, each
with its own credentials, on moto behind the gate of server.py. Then what no role may do, and that no grant is unused.

usage: scenario.py AFN CORE_YAML
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import refusals
import work
from world import World


def main(afn, template):
    template = Path(template).read_text()
    with tempfile.TemporaryDirectory() as home:
        world = World(os.path.abspath(afn), template, Path(home))
        began = time.monotonic()

        def step(name, run):
            result = run()
            print(f"{time.monotonic() - began:6.1f} s  {name}", flush=True)
            return result

        step("contexts from the stack", lambda: work.contexts(world))
        step("the deployer deploys", lambda: work.deployer(world))
        step("one role does it all", lambda: work.alone(world))
        ended = step("the submitter submits, the worker works, the canceller cancels", lambda: work.worker(world))
        step("a panic of a worker is told", lambda: work.panics(world))
        step("a function reads sources and writes outputs", lambda: work.outputs(world))
        step("functions are given secrets", lambda: work.secrets(world))
        step("the reader reads", lambda: work.reader(world, *ended))
        step("a worker's role deletes a batch", lambda: work.deleted(world, ended[1]))
        step("a team keeps to its app", lambda: (world.nothing_was_refused(), refusals.team(world)))
        step("the worker collects", lambda: (work.collected(world), world.nothing_was_refused()))
        step("no grant is unused", lambda: refusals.unused(world))
        step("each kind of object has its writers", lambda: refusals.writers(world))
        step("what is not granted is refused", lambda: refusals.refusals(world))
        step("existing buckets, sizes of policies", lambda: refusals.templates(world, template))
        step("who may take on the worker's role", lambda: refusals.trust(world))


if __name__ == "__main__":
    main(*sys.argv[1:])
