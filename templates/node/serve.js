// Hands calls to the function, one after another: HTTP over the unix socket that
// FN_LISTENER names. Nothing here needs changing.

const fs = require("fs");
const http = require("http");

module.exports = function serve(handle) {
  const url = process.env.FN_LISTENER || "";
  if (!url.startsWith("unix:")) {
    console.error("FN_LISTENER is not set: deploy this function and call it with `afn call`");
    process.exit(1);
  }
  const path = url.slice("unix:".length);
  const server = http.createServer((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", async () => {
      const [status, contentType, answer] = await run(handle, {
        id: request.headers["fn-call-id"], // the same for every attempt
        attempt: Number(request.headers["afn-attempt"]),
        deadline: request.headers["fn-deadline"],
        contentType: request.headers["content-type"],
        headers: request.headers,
        body: Buffer.concat(pieces),
      });
      response.writeHead(status, { "Content-Type": contentType, "Content-Length": answer.length });
      response.end(answer);
    });
  });
  // A call may take as long as its function's timeout says, which afn sees to.
  server.requestTimeout = 0;
  server.keepAliveTimeout = 0;
  // Under another name until it listens: the socket is ready when it is found.
  const unready = path + ".new";
  server.listen(unready, () => {
    fs.chmodSync(unready, 0o666);
    fs.renameSync(unready, path);
  });
};

async function run(handle, call) {
  try {
    const result = await handle(call);
    if (result === undefined || result === null) return [200, "application/octet-stream", Buffer.alloc(0)];
    if (result instanceof Uint8Array) return [200, "application/octet-stream", Buffer.from(result)];
    if (typeof result === "string") return [200, "text/plain; charset=utf-8", Buffer.from(result)];
    return [200, "application/json", Buffer.from(JSON.stringify(result))];
  } catch (error) {
    console.error(error);
    return [502, "text/plain; charset=utf-8", Buffer.from(String(error))];
  }
}
