const serve = require("./serve");

// Runs one call. What it returns is the answer: Buffers and strings as they are, anything
// else as JSON. An exception fails the call, with its text as the reason. What is printed
// goes into the call's log.
async function handle(call) {
  const name = nameIn(call.body.toString().trim());
  console.log("greeting", name);
  return `Hello ${name}\n`;
}

// Of a payload that is a name, or JSON with one, or empty.
function nameIn(text) {
  if (!text.startsWith("{")) return text || "World";
  let name;
  try {
    name = JSON.parse(text).name;
  } catch {}
  if (name === undefined) throw new Error('the payload is no name and no JSON like {"name": "Ada"}');
  return name;
}

serve(handle);
