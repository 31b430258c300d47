//! Requests as the vendors send them: what stands in their headers, and bodies of their shape. Spaces, line breaks, escapes and
//! the order of the fields differ from what any library would write, so that a body that is written anew shows.

type Headers = &'static [(&'static str, &'static str)];

pub(super) const JSON: Headers = &[("Content-Type", "application/json")];

pub(super) const EVENT: &str =
    r#"{"type":"user.created","timestamp":"2026-11-22T09:12:07.330Z","data":{"id":"7f1c","name":"Zo\u00eb","n":1.10}}"#;

pub(super) const GITHUB_HEADERS: Headers = &[
    ("Content-Type", "application/json"),
    ("Accept", "*/*"),
    ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
    ("X-GitHub-Event", "push"),
    ("X-GitHub-Hook-ID", "292430182"),
    ("X-GitHub-Hook-Installation-Target-ID", "79929171"),
    ("X-GitHub-Hook-Installation-Target-Type", "repository"),
];

pub(super) const GITHUB: &str = r#"{"ref":"refs/heads/main","before":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","after":"0000000000000000000000000000000000000000","created":false,"deleted":true,"forced":false,"base_ref":null,"compare":"https://github.com/Codertocat/Hello-World/compare/6113728f27ae...000000000000","commits":[],"head_commit":null,"repository":{"id":186853002,"name":"Hello-World","full_name":"Codertocat/Hello-World","private":false,"pushed_at":1557933657},"pusher":{"name":"Codertocat","email":"21031067+Codertocat@users.noreply.github.com"},"sender":{"login":"Codertocat","id":21031067,"type":"User"}}"#;

pub(super) const STRIPE_HEADERS: Headers = &[
    ("Content-Type", "application/json; charset=utf-8"),
    ("Accept", "*/*; q=0.5, application/xml"),
    ("Cache-Control", "no-cache"),
];

// Stripe lays its events out.
pub(super) const STRIPE: &str = r#"{
  "id": "evt_1NG8Du2eZvKYlo2CUI79vXWy",
  "object": "event",
  "api_version": "2026-06-30",
  "created": 1686089970,
  "data": {
    "object": {
      "id": "in_1MtHbELkdIwHu7ixl4OzzPMv",
      "object": "invoice",
      "amount_paid": 1099,
      "currency": "eur",
      "customer_name": "Jenny Ros\u00e9n",
      "metadata": {}
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": null,
    "idempotency_key": null
  },
  "type": "invoice.payment_succeeded"
}"#;

pub(super) const SHOPIFY_HEADERS: Headers = &[
    ("Content-Type", "application/json"),
    ("X-Shopify-Topic", "orders/create"),
    ("X-Shopify-Shop-Domain", "acme-widgets.myshopify.com"),
    ("X-Shopify-API-Version", "2026-10"),
    ("X-Shopify-Webhook-Id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
    ("X-Shopify-Event-Id", "98880550-7158-44d4-b7cd-2c97c8a091b5"),
    ("X-Shopify-Triggered-At", "2026-11-22T09:12:07.330517711Z"),
];

pub(super) const SHOPIFY: &str = r#"{"id":820982911946154508,"admin_graphql_api_id":"gid:\/\/shopify\/Order\/820982911946154508","email":"jon@example.com","currency":"USD","total_price":"403.00","note":"caf\u00e9 \u2603","test":true,"line_items":[{"id":866550311766439020,"price":"199.00","quantity":1,"sku":"IPOD2008PINK"}]}"#;

pub(super) const SLACK_EVENT_HEADERS: Headers = &[
    ("Content-Type", "application/json"),
    ("Accept", "*/*"),
    ("X-Slack-Retry-Num", "1"),
    ("X-Slack-Retry-Reason", "http_timeout"),
];

pub(super) const SLACK_EVENT: &str = r#"{"token":"ZZZZZZWSxiZZZ2yIvs3peJ","team_id":"T061EG9R6","api_app_id":"A0MDYCDME","event":{"type":"app_mention","user":"U061F7AUR","text":"<@U0LAN0Z89> is it everything a river should be?","ts":"1515449522.000016","channel":"C0LAN2Q65","event_ts":"1515449522000016"},"type":"event_callback","event_id":"Ev08MFMKH6","event_time":1515449522,"authed_users":["U0LAN0Z89"]}"#;

pub(super) const SLACK_COMMAND_HEADERS: Headers =
    &[("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json,*/*")];

pub(super) const SLACK_COMMAND: &str = "token=gIkuvaNzQIHg97ATvDxqgjtO&team_id=T0001&team_domain=example&channel_id=C2147483705&channel_name=test&user_id=U2147483697&user_name=Steve&command=%2Fweather&text=94070+%26+more&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F1234%2F5678&trigger_id=13345224609.738474920.8088930838d88f008e0&api_app_id=A123456";

pub(super) const TWILIO_FORM_HEADERS: Headers = &[
    ("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"),
    ("Accept", "*/*"),
    ("I-Twilio-Idempotency-Token", "e8c5ac0b-7c27-4a4c-9b1c-1b3fd0a8f1b7"),
    ("X-Home-Region", "us1"),
];

// Twilio does not send the fields sorted, and some are empty.
pub(super) const TWILIO_FORM: &str = "ToCountry=US&ToState=CA&SmsMessageSid=SM1234567890abcdef1234567890abcdef&NumMedia=0&ToCity=&FromZip=94105&SmsStatus=received&Body=Caf%C3%A9+%26+cr%C3%A8me%2C+1%2B1%3D2&FromCountry=US&To=%2B14155550100&NumSegments=1&AccountSid=AC1234567890abcdef1234567890abcdef&From=%2B14155550199&ApiVersion=2010-04-01";

pub(super) const TWILIO_JSON_HEADERS: Headers = &[
    ("Content-Type", "application/json"),
    ("Accept", "*/*"),
    ("I-Twilio-Idempotency-Token", "0f4ab6b5-8f0b-4f8c-a2d8-6d3ee27a4f5c"),
];

pub(super) const TWILIO_JSON: &str = r#"[{"specversion":"1.0","type":"com.twilio.messaging.message.delivered","source":"/2010-04-01/Accounts/AC1234567890abcdef1234567890abcdef/Messages/SM12.json","id":"EZ1234567890abcdef1234567890abcdef","time":"2026-11-22T09:12:07.000Z","data":{"to":"+14155550100"}}]"#;

pub(super) const GITLAB_HEADERS: Headers = &[
    ("Content-Type", "application/json"),
    ("X-Gitlab-Event", "Push Hook"),
    ("X-Gitlab-Instance", "https://gitlab.example.com"),
    ("X-Gitlab-Webhook-UUID", "02affd2d-2cba-4033-917d-ec22d5dc4b38"),
    ("X-Gitlab-Event-UUID", "13792a34-cac6-4fda-95a8-c58e00a3954e"),
];

pub(super) const GITLAB: &str = r#"{"object_kind":"push","event_name":"push","before":"95790bf891e76fee5e1747ab589903a6a1f80f22","after":"da1560886d4f094c3e6c9ef40349f7d38b5d27d7","ref":"refs/heads/master","user_name":"John Smith","project_id":15,"commits":[],"total_commits_count":4}"#;

pub(super) const ZENDESK_HEADERS: Headers = &[
    ("Content-Type", "application/json; charset=utf-8"),
    ("X-Zendesk-Account-Id", "123456"),
    ("X-Zendesk-Webhook-Id", "01GV5A8ZNR1XPSQ2RCNB4G2WJ5"),
    ("X-Zendesk-Webhook-Invocation-Id", "01GV5A9E0X3Y1F0M7R0JW8N1ZQ"),
];

pub(super) const ZENDESK: &str = r#"{"account_id":22129848,"detail":{"actor_id":"8447388090494","id":"5158","status":"OPEN","subject":"It doesn’t work"},"event":{"current":"OPEN","previous":"NEW"},"id":"cbe4028c-7239-495d-b020-f22348516046","subject":"zen:ticket:5158","time":"2026-11-22T09:12:07Z","type":"zen:event-type:ticket.status_changed","zendesk_event_version":"2022-11-06"}"#;
