// Verifies deliveries with the official Standard Webhooks library of npm; Ed25519 with Node's own crypto.
// Input and output are those of verify.py; WEBHOOKD_INTEROP names the folder with node_modules.
"use strict";

const crypto = require("node:crypto");
const path = require("node:path");
const readline = require("node:readline");
const { createRequire } = require("node:module");

const { Webhook, WebhookVerificationError } = createRequire(path.join(process.env.WEBHOOKD_INTEROP, "x.js"))(
  "standardwebhooks",
);

// What stands before the 32 bytes of an Ed25519 key in SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");

function fail(message) {
  console.error(message);
  process.exit(1);
}

function ed25519Fits(headers, body, publicKey) {
  const der = Buffer.concat([SPKI_PREFIX, Buffer.from(publicKey, "base64")]);
  const key = crypto.createPublicKey({ key: der, format: "der", type: "spki" });
  const content = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
  return headers["webhook-signature"]
    .split(" ")
    .map((signature) => signature.split(","))
    .some(([version, value]) => version === "v1a" && crypto.verify(null, content, key, Buffer.from(value, "base64")));
}

async function main() {
  let verified = 0;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { headers, body_base64, secrets, public_keys } = JSON.parse(line);
    const body = Buffer.from(body_base64, "base64");
    const changed = Buffer.from(body);
    changed[changed.length - 1] ^= 1;
    for (const secret of secrets) {
      const webhook = new Webhook(secret);
      webhook.verify(body, headers, { jsonParse: false });
      try {
        webhook.verify(changed, headers, { jsonParse: false });
        fail(`${headers["webhook-id"]}: a changed body was accepted`);
      } catch (error) {
        if (!(error instanceof WebhookVerificationError)) throw error;
      }
      verified += 1;
    }
    for (const publicKey of public_keys) {
      if (!ed25519Fits(headers, body, publicKey)) fail(`${headers["webhook-id"]}: no Ed25519 signature fits`);
      if (ed25519Fits(headers, changed, publicKey)) fail(`${headers["webhook-id"]}: a changed body was accepted`);
      verified += 1;
    }
  }
  console.log(JSON.stringify({ verified }));
}

main().catch((error) => fail(String(error)));
