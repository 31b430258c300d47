//! Checks Standard Webhooks signatures from the specification, without the program's own code.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::Received;

/// Whether one of the `v1` signatures of a request fits a `whsec_` secret.
pub(crate) fn hmac_fits(request: &Received, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a whsec_ secret")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
    mac.update(&signed_content(request));
    let wanted = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    request.header("webhook-signature").split(' ').any(|signature| signature == wanted)
}

/// Whether one of the `v1a` signatures of a request fits a public key of 32 bytes.
pub(crate) fn ed25519_fits(request: &Received, public: &[u8; 32]) -> bool {
    let key = ed25519_dalek::VerifyingKey::from_bytes(public).expect("a public key");
    let content = signed_content(request);
    let signatures = request.header("webhook-signature");
    signatures.split(' ').filter_map(|signature| signature.strip_prefix("v1a,")).any(|signature| {
        let bytes: [u8; 64] = STANDARD.decode(signature).expect("base64").try_into().expect("64 bytes");
        key.verify_strict(&content, &ed25519_dalek::Signature::from_bytes(&bytes)).is_ok()
    })
}

fn signed_content(request: &Received) -> Vec<u8> {
    let mut content = format!("{}.{}.", request.header("webhook-id"), request.header("webhook-timestamp")).into_bytes();
    content.extend_from_slice(&request.body);
    content
}
