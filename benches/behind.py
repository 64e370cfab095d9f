#!/usr/bin/env python3
"""How soon a call starts that is submitted behind a batch of a million: real processes on the embedded context.

    cargo build --release
    python3 benches/behind.py            # a million calls of 1 s, one worker with 4 slots, 10 calls one after another

The call is of the same function. What counts is when it was accepted and when it started, as its status tells.
"""

import argparse, datetime, json, os, pathlib, random, subprocess, sys, tempfile, time

root = pathlib.Path(__file__).resolve().parent.parent
target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--calls", type=int, default=1_000_000)
parser.add_argument("--ms", type=int, default=1_000, help="how long each call sleeps")
parser.add_argument("--slots", type=int, default=4, help="calls at a time of the worker")
parser.add_argument("--times", type=int, default=10, help="calls to be submitted behind the batch")
parser.add_argument("--afn", type=pathlib.Path, default=target / "release/afn")
options = parser.parse_args()


def main():
    with tempfile.TemporaryDirectory(prefix="afn-behind-") as folder:
        measure(pathlib.Path(folder))


def measure(place):
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(place), "AFN_HOME": str(place / "home"),
        "AFN_DATA_DIR": str(place / "data"), "DOCKER_HOST": "unix:///nowhere/docker.sock", "AFN_FUNCTION_UIDS": "none",
    }

    def run(*arguments, cwd=place):
        command = [str(options.afn), *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"afn {' '.join(map(str, arguments))} failed:\n{done.stderr}")
        return done.stdout

    def when(time):
        return datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))

    run("init", "--runtime", "shell", "nap")
    (place / "nap/func.sh").write_text(f"sleep {options.ms / 1000}\necho ok\n")
    (place / "nap/func.yaml").open("a").write("type: async\n")
    run("deploy", "--local", "--no-image", "--app", "behind", cwd=place / "nap")
    (place / "lines.txt").write_text("".join(f"{number}\n" for number in range(options.calls)))
    run("batch", "submit", "behind", "/nap", "lines.txt")
    worker = subprocess.Popen([str(options.afn), "worker", "-j", str(options.slots)], cwd=place, env=environment,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(10 * options.ms / 1000)
        waits = []
        for _ in range(options.times):
            # At no particular moment of the calls before it.
            time.sleep(random.random() * options.ms / 1000)
            call = json.loads(run("call", "behind", "/nap"))["call_id"]
            status = {}
            while not status.get("completed_at"):
                time.sleep(0.2)
                status = json.loads(run("-o", "json", "get", "call", "behind", call))
            assert status["status"] == "success", status
            waits.append((when(status["started_at"]) - when(status["created_at"])).total_seconds())
        batch = json.loads(run("-o", "json", "batch", "status", "last"))
    finally:
        worker.terminate()
        worker.wait()
    counts = json.dumps(batch["counts"])
    print(f"behind a batch of {options.calls} calls of {options.ms} ms, {options.slots} at a time ({counts}):")
    print("  seconds until a call started: " + ", ".join(f"{wait:.2f}" for wait in waits))


main()
