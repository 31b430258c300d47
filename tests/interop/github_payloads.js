// Prints the webhook payloads that GitHub has published (npm: @octokit/webhooks-examples), one JSON object a line:
// {"event": "push", "body": "<the payload's text>"}. Every other one is laid out with line breaks and spaces.
"use strict";

const path = require("node:path");
const { createRequire } = require("node:module");

const events = createRequire(path.join(process.env.WEBHOOKD_INTEROP, "x.js"))("@octokit/webhooks-examples");

let lines = "";
let n = 0;
for (const { name, examples } of events) {
  for (const example of examples) {
    lines += JSON.stringify({ event: name, body: JSON.stringify(example, null, n++ % 2 ? 2 : 0) }) + "\n";
  }
}
process.stdout.write(lines);
