#!/usr/bin/env python3
"""What a batch on LocalStack asks of S3 and SQS, and how long it takes: real processes, counted on both sides.

    LS_LOG=info sh localstack/up
    cargo build --release
    python3 benches/localstack.py --calls 1000                        # one `batch run`
    python3 benches/localstack.py --calls 1000 --ms 100 --workers 4   # submit, 4 workers, wait, results

Every process tells with `-v` what its counting decorator saw; LocalStack tells in its log, one line for each request.
What the two differ by is named. The function is a hot Python process that sleeps and answers `ok`; it is published before
anything is counted, and with one `batch run` what publishes it again is told apart.
"""

import argparse, atexit, collections, os, pathlib, re, shutil, subprocess, sys, tempfile, threading, time

root = pathlib.Path(__file__).resolve().parent.parent
target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--calls", type=int, default=1_000)
parser.add_argument("--ms", type=int, default=0, help="how long each call sleeps")
parser.add_argument("--workers", type=int, default=0, help="worker processes; 0: one `batch run` does everything")
parser.add_argument("--slots", type=int, default=4, help="calls at a time of each worker")
parser.add_argument("--endpoint", default="http://127.0.0.1:4566")
parser.add_argument("--log", type=pathlib.Path, default=target / "localstack/log", help="LocalStack's, made with LS_LOG=info")
parser.add_argument("--afn", type=pathlib.Path, default=target / "release/afn")
options = parser.parse_args()

FUNCTION = """import time

import serve


def handle(call):
    milliseconds = int(call.body)
    if milliseconds:
        time.sleep(milliseconds / 1000)
    return "ok"


if __name__ == "__main__":
    serve.forever(handle)
"""
AWS = re.compile(r"AWS (s3|sqs)\.(\w+) => (\d+)")
NAMES = {
    "PutObject": "put", "GetObject": "get", "HeadObject": "head", "ListObjectsV2": "list", "DeleteObjects": "delete",
    "SendMessageBatch": "send", "ReceiveMessage": "receive", "ChangeMessageVisibility": "extend",
    "DeleteMessageBatch": "delete_message", "GetQueueAttributes": "depth",
}


class Log:
    """LocalStack's log, from here on."""

    def __init__(self):
        self.file = options.log.open()
        self.file.seek(0, os.SEEK_END)

    def read(self):
        """Requests since the last time, by operation."""
        found = (AWS.search(line) for line in self.file.read().splitlines())
        return collections.Counter(NAMES.get(one[2], one[2]) for one in found if one)


def main():
    place = pathlib.Path(tempfile.mkdtemp(prefix="afn-figures-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    base = f"figures-{int(time.time() * 1000):x}"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(place), "AFN_HOME": str(place / "home"), "AFN_CONTEXT": "localstack",
        "AFN_ENDPOINT": options.endpoint, "AFN_PREFIX": f"figures/{base}", "AFN_QUEUES": base,
        "AFN_DATA_DIR": str(place / "data"), "DOCKER_HOST": "unix:///nowhere/docker.sock", "AFN_FUNCTION_UIDS": "none",
    }
    said = []

    def start(*arguments, stdout=subprocess.DEVNULL):
        command = [str(options.afn), "-v", *map(str, arguments)]
        return subprocess.Popen(command, cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=stdout,
                                stderr=subprocess.PIPE, text=True)

    def listen(process):
        lines = []
        def read():
            for line in process.stderr:
                lines.append(line)
        thread = threading.Thread(target=read)
        thread.start()
        said.append((lines, thread))
        return lines

    def run(*arguments):
        process = start(*arguments)
        lines = listen(process)
        if process.wait() != 0:
            sys.exit(f"afn {' '.join(map(str, arguments))} failed:\n{''.join(lines)}")

    run("context", "create", "localstack")
    run("init", "--runtime", "python", "noop")
    (place / "noop/func.py").write_text(FUNCTION)
    (place / "noop/func.yaml").open("a").write("type: async\n")
    (place / "calls.txt").write_text(f"{options.ms}\n" * options.calls)
    subprocess.run([str(options.afn), "deploy", "--local", "--no-image", "--app", "figures"], cwd=place / "noop",
                   env=environment, check=True, stdout=subprocess.DEVNULL)
    log = Log()
    said.clear()
    before = collections.Counter()
    if options.workers == 0:
        begun = time.monotonic()
        process = start("batch", "run", "noop", "--app", "figures", "-j", options.slots, "--input", "calls.txt",
                        "--output", "results.jsonl", "--progress", "none")
        lines = listen(process)
        while process.poll() is None and not any(line.startswith("Batch ") for line in lines):
            time.sleep(0.001)
        before = log.read()
        if process.wait() != 0:
            sys.exit("".join(lines))
        ended = time.monotonic()
    else:
        workers = [start("worker", "-j", options.slots) for _ in range(options.workers)]
        up = [listen(worker) for worker in workers]
        while not all(any("ready" in line or "at once" in line for line in lines) for lines in up):
            time.sleep(0.01)
        log.read()
        begun = time.monotonic()
        run("batch", "submit", "figures", "/noop", "calls.txt")
        run("batch", "wait", "last")
        run("batch", "results", "last", "-o", "results.jsonl")
        ended = time.monotonic()
        # What idle workers ask from here on is no part of the batch.
        seen = log.read()
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()
    rows = sum(1 for _ in (place / "results.jsonl").open())
    assert rows == options.calls, f"{rows} rows of {options.calls} calls"
    for _, thread in said:
        thread.join()
    counted = 0
    for lines, _ in said:
        for line in lines:
            told = re.search(r"(\d+) requests to the store, (\d+) to queues", line)
            if told:
                counted += int(told[1]) + int(told[2])
    time.sleep(1)
    after = log.read()
    if options.workers == 0:
        seen, after = after, collections.Counter()
    calls, total = options.calls, sum(seen.values())
    what = f"{options.workers} workers × {options.slots} slots" if options.workers else f"one `batch run -j {options.slots}`"
    print(f"{calls} calls of {options.ms} ms, {what}: {ended - begun:.2f} s, load {os.getloadavg()[0]:.1f}")
    if options.ms:
        slots = options.slots * max(options.workers, 1)
        ideal = calls * options.ms / 1000 / slots
        print(f"  ideal {ideal:.1f} s: {(ended - begun) / ideal:.3f} of it")
    print(f"  LocalStack's log: {total} requests, {total / calls:.4f} a call: " +
          ", ".join(f"{name} {count}" for name, count in sorted(seen.items())))
    everything = seen + before + after
    unknown = sum(count for name, count in everything.items() if name == "GetQueueUrl")
    print(f"  all of these processes: {sum(everything.values())} in the log, {unknown} of them GetQueueUrl; "
          f"{counted} by the decorator; before the batch {sum(before.values())}, of idle workers after it {sum(after.values())}")


main()
