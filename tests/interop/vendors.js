// Signs and judges requests with what vendors publish on npm, one JSON object a line in and out.
//
// In:  {"act": "sign" | "judge", "library": "stripe" | "octokit" | "svix" | "standardwebhooks" | "shopify", "secret": "…",
//       "now": <seconds>, "id": "…", "headers": [["name", "value"], …], "body_base64": "…"}
// Out: {"headers": [["name", "value"], …]} for "sign", {"valid": true | false, "why": "…"} for "judge".
//
// A library that looks at the clock is shown "now". Headers that are there twice are handed over as Node's own HTTP server
// does: joined by a comma.
"use strict";

const path = require("node:path");
const readline = require("node:readline");
const { createRequire } = require("node:module");
const { pathToFileURL } = require("node:url");

const folder = process.env.WEBHOOKD_INTEROP;
const load = createRequire(path.join(folder, "x.js"));

const stripe = load("stripe");
const svix = load("svix");
const standard = load("standardwebhooks");
load("@shopify/shopify-api/adapters/node");
const { shopifyApi, ApiVersion, LogSeverity } = load("@shopify/shopify-api");
const { createSHA256HMAC, HashFormat } = load("@shopify/shopify-api/runtime");

const clock = Date.now;

function joined(headers) {
  const all = {};
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    all[key] = key in all ? `${all[key]}, ${value}` : value;
  }
  return all;
}

function shopify(secret) {
  return shopifyApi({
    apiKey: "key",
    apiSecretKey: secret,
    apiVersion: Object.values(ApiVersion).pop(),
    hostName: "app.example.com",
    isEmbeddedApp: true,
    logger: { level: LogSeverity.Error, log: () => {} },
  });
}

// The trio of Standard Webhooks under its own names or Svix's.
function trio(prefix, Webhook, { secret, now, id, body }) {
  const signature = new Webhook(secret).sign(id, new Date(now * 1000), body);
  return [
    [`${prefix}-id`, id],
    [`${prefix}-timestamp`, String(now)],
    [`${prefix}-signature`, signature],
  ];
}

const LIBRARIES = {
  stripe: {
    sign: ({ secret, now, body }) => [
      ["Stripe-Signature", stripe.webhooks.generateTestHeaderString({ payload: body, secret, timestamp: now })],
    ],
    judge: ({ secret, headers, bytes }) => stripe.webhooks.constructEvent(bytes, headers["stripe-signature"], secret),
  },
  octokit: {
    sign: async ({ secret, body, octokit }) => [["X-Hub-Signature-256", await octokit.sign(secret, body)]],
    judge: async ({ secret, headers, body, octokit }) => octokit.verify(secret, body, headers["x-hub-signature-256"]),
  },
  svix: {
    sign: (line) => trio("svix", svix.Webhook, line),
    judge: ({ secret, headers, body }) => new svix.Webhook(secret).verify(body, headers),
  },
  standardwebhooks: {
    sign: (line) => trio("webhook", standard.Webhook, line),
    judge: ({ secret, headers, bytes }) => new standard.Webhook(secret).verify(bytes, headers, { jsonParse: false }),
  },
  shopify: {
    sign: async ({ secret, body }) => [
      ["X-Shopify-Hmac-Sha256", await createSHA256HMAC(secret, body, HashFormat.Base64)],
    ],
    judge: async ({ secret, headers, body }) => {
      const rawRequest = { method: "POST", url: "/in/shopify", headers };
      const result = await shopify(secret).webhooks.validate({ rawBody: body, rawRequest, rawResponse: {} });
      if (!result.valid) throw new Error(result.reason + " " + (result.missingHeaders ?? ""));
    },
  },
};

async function main() {
  const octokit = await import(
    pathToFileURL(path.join(folder, "node_modules/@octokit/webhooks-methods/dist-node/index.js"))
  );
  for await (const text of readline.createInterface({ input: process.stdin })) {
    const line = JSON.parse(text);
    const library = LIBRARIES[line.library];
    const bytes = Buffer.from(line.body_base64, "base64");
    const request = { ...line, octokit, bytes, body: bytes.toString(), headers: joined(line.headers ?? []) };
    let out;
    Date.now = () => line.now * 1000;
    if (line.act === "sign") {
      out = { headers: await library.sign(request) };
    } else {
      try {
        const answer = await library.judge(request);
        out = { valid: answer !== false };
      } catch (error) {
        out = { valid: false, why: String(error.message) };
      }
    }
    Date.now = clock;
    process.stdout.write(JSON.stringify(out) + "\n");
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
