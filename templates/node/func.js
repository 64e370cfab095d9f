const serve = require("./serve");

// Runs one call. What it returns is the answer: Buffers and strings as they are, anything
// else as JSON. An exception fails the call, with its text as the reason. What is printed
// goes into the call's log.
async function handle(call) {
  const person = call.body.length ? JSON.parse(call.body) : { name: "World" };
  console.log("greeting", person.name);
  return { message: "Hello " + person.name };
}

serve(handle);
