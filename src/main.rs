//! The `webhookd` binary: exit codes and nothing else.

fn main() {}
