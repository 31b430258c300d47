//! The `webhookd` binary: exit codes and nothing else.

/// An outbox opens and closes databases all day, and what they leave behind has to go back to the system: with 400,000
/// retries piling up the C library's allocator held 178 MiB, this one 142 MiB (`cargo bench --bench backlog pile`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    webhookd::cli::main()
}
