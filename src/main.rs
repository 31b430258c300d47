//! The `webhookd` binary: exit codes and nothing else.

fn main() -> std::process::ExitCode {
    webhookd::cli::main()
}
