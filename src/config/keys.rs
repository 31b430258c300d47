//! Every key that a config may have. The reader opens tables with these lists, and a test holds
//! `webhookd.toml.example` against them.

/// The keys of one table.
#[derive(Debug)]
pub(super) struct Keys {
    /// The table's place, `*` standing for a name of the user's choice; empty for the top of the file.
    pub(super) at: &'static str,
    /// Its keys.
    pub(super) names: &'static [&'static str],
}

pub(super) static ROOT: Keys = Keys { at: "", names: &["api", "inbound", "storage", "delivery", "endpoint", "source"] };

pub(super) static API: Keys = Keys {
    at: "api",
    names: &["listen", "max_body", "max_connections", "max_connections_per_address", "hosts", "tls", "token"],
};

pub(super) static API_TLS: Keys = Keys { at: "api.tls", names: &["cert", "key", "client_ca"] };

pub(super) static INBOUND: Keys = Keys {
    at: "inbound",
    names: &["listen", "max_body", "max_connections", "max_connections_per_address", "proxy_protocol", "tls"],
};

pub(super) static INBOUND_TLS: Keys = Keys { at: "inbound.tls", names: &["cert", "key", "client_ca"] };

pub(super) static SOURCE: Keys = Keys {
    at: "source.*",
    names: &[
        "verify",
        "event_type",
        "dedup",
        "key",
        "allow_networks",
        "trusted_proxies",
        "respond",
        "rate_limit",
        "public_url",
        "verify_token",
    ],
};

pub(super) static VERIFY: Keys = Keys {
    at: "source.*.verify",
    names: &[
        "scheme",
        "secret",
        "header",
        "algorithm",
        "encoding",
        "prefix",
        "username",
        "content",
        "timestamp_header",
        "id_header",
        "tolerance",
    ],
};

/// A place in a request; the same for `dedup` and `key`.
pub(super) static PICK: Keys = Keys { at: "source.*.event_type", names: &["header", "json", "form"] };

pub(super) static RESPOND: Keys = Keys { at: "source.*.respond", names: &["status", "content_type", "body"] };

pub(super) static TOKEN: Keys = Keys { at: "api.token.*", names: &["secret", "scope"] };

pub(super) static STORAGE: Keys =
    Keys { at: "storage", names: &["dir", "retention", "max_size", "min_free", "durability"] };

pub(super) static DELIVERY: Keys = Keys {
    at: "delivery",
    names: &["timeout", "max_in_flight", "retry", "jitter", "max_retry_after", "allow_networks", "log_response_bytes"],
};

pub(super) static ENDPOINT: Keys = Keys {
    at: "endpoint.*",
    names: &[
        "url",
        "events",
        "secret",
        "sign",
        "format",
        "headers",
        "order",
        "on_dead",
        "rate_limit",
        "breaker",
        "disable_after",
        "permanent",
        "tls",
        "timeout",
        "max_in_flight",
        "retry",
        "jitter",
        "max_retry_after",
        "allow_networks",
        "log_response_bytes",
    ],
};

pub(super) static SIGN: Keys = Keys {
    at: "endpoint.*.sign",
    names: &[
        "scheme",
        "header",
        "algorithm",
        "encoding",
        "prefix",
        "username",
        "content",
        "timestamp_header",
        "id_header",
    ],
};

pub(super) static BREAKER: Keys = Keys { at: "endpoint.*.breaker", names: &["failures", "cooldown", "max_cooldown"] };

/// The same for a source.
pub(super) static RATE_LIMIT: Keys = Keys { at: "endpoint.*.rate_limit", names: &["rate", "burst"] };

pub(super) static ENDPOINT_TLS: Keys = Keys { at: "endpoint.*.tls", names: &["ca", "cert", "key"] };

/// A secret that stands elsewhere; the same wherever a secret may stand.
pub(super) static SECRET: Keys = Keys { at: "endpoint.*.secret", names: &["file", "env", "credential"] };

/// Every table.
pub(super) static ALL: &[&Keys] = &[
    &ROOT,
    &API,
    &API_TLS,
    &TOKEN,
    &INBOUND,
    &INBOUND_TLS,
    &STORAGE,
    &DELIVERY,
    &ENDPOINT,
    &SIGN,
    &BREAKER,
    &RATE_LIMIT,
    &ENDPOINT_TLS,
    &SOURCE,
    &VERIFY,
    &PICK,
    &RESPOND,
    &SECRET,
];

impl Keys {
    /// The place of one of the table's keys.
    pub(super) fn place(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    /// What to say of a key that the table does not have.
    pub(super) fn advice(&self, key: &str) -> String {
        let near = self
            .names
            .iter()
            .map(|name| (strsim::damerau_levenshtein(&key.to_lowercase(), name), *name))
            .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
            .min();
        if let Some((_, name)) = near {
            return format!("unknown key; did you mean {name}?");
        }
        let mut elsewhere: Vec<&str> = ALL
            .iter()
            .filter(|keys| keys.names.contains(&key))
            .map(|keys| keys.at)
            .filter(|at| !at.is_empty())
            .collect();
        // What belongs nearby was more likely meant.
        let kin = |at: &str| self.at.split('.').next() == at.split('.').next();
        if elsewhere.iter().any(|at| kin(at)) {
            elsewhere.retain(|at| kin(at));
        }
        if !elsewhere.is_empty() {
            let tables: Vec<String> = elsewhere.iter().map(|at| format!("[{at}]")).collect();
            return format!("unknown key; {key} belongs in {}", tables.join(" or "));
        }
        format!("unknown key; known here: {}", self.names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_met_with_the_nearest_one() {
        assert_eq!(ENDPOINT.advice("timout"), "unknown key; did you mean timeout?");
        assert_eq!(ENDPOINT.advice("Retry"), "unknown key; did you mean retry?");
        assert_eq!(STORAGE.advice("durabilty"), "unknown key; did you mean durability?");
        assert_eq!(ROOT.advice("endpoints"), "unknown key; did you mean endpoint?");
    }

    #[test]
    fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
        assert_eq!(API.advice("timeout"), "unknown key; timeout belongs in [delivery] or [endpoint.*]");
        assert_eq!(ROOT.advice("listen"), "unknown key; listen belongs in [api] or [inbound]");
        assert_eq!(SOURCE.advice("secret"), "unknown key; secret belongs in [source.*.verify]");
        assert_eq!(SIGN.advice("secret"), "unknown key; secret belongs in [endpoint.*]");
    }

    #[test]
    fn a_key_like_no_other_is_met_with_the_list() {
        assert_eq!(STORAGE.advice("colour"), "unknown key; known here: dir, retention, max_size, min_free, durability");
    }
}
