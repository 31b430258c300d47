//! Why a request is refused: a closed set of words, for the metric and the log. The client is told the problem alone.

use crate::front::problem::{Problem, ProblemKind};
use crate::outbox::AcceptError;
use crate::signature::Refusal;

/// The problems that a source answers, beside a signature that does not hold.
const PROBLEMS: [ProblemKind; 12] = [
    ProblemKind::MethodNotAllowed,
    ProblemKind::AddressRefused,
    ProblemKind::BodyTooLarge,
    ProblemKind::UnsupportedEncoding,
    ProblemKind::RequestTimeout,
    ProblemKind::BrokenBody,
    ProblemKind::Busy,
    ProblemKind::TooManyRequests,
    ProblemKind::ChallengeRefused,
    ProblemKind::NotReady,
    ProblemKind::StorageFull,
    ProblemKind::StorageFailed,
];

/// Every word there is for a source.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    let problems = PROBLEMS.iter().map(|kind| kind.word());
    problems.chain(Refusal::ALL.iter().map(|refusal| refusal.as_str()))
}

/// A request that is refused.
#[derive(Debug)]
pub(super) struct Refused {
    /// What the client is told.
    pub(super) problem: Problem,
    /// Why, for those who run this.
    pub(super) reason: &'static str,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        debug_assert!(PROBLEMS.contains(&problem.kind), "{:?} has no place among the words", problem.kind);
        Self { reason: problem.kind.word(), problem }
    }
}

impl From<AcceptError> for Refused {
    fn from(error: AcceptError) -> Self {
        Problem::from(error).into()
    }
}

impl From<Refusal> for Refused {
    /// The reason would help a forger more than a sender.
    fn from(refusal: Refusal) -> Self {
        let problem = Problem::new(ProblemKind::SignatureRefused, "the request could not be verified");
        Self { problem, reason: refusal.as_str() }
    }
}
