//! Which events an endpoint takes.

use thiserror::Error;

use crate::limits::{TYPE_PATTERN_BYTES_MAX, TYPE_PATTERNS_MAX};

/// How the types of webhookd's own events begin. See [`TypeFilter`].
pub const OPERATIONAL_PREFIX: &str = "webhookd.";

/// An endpoint's `events` list, or the types that a listing shows.
///
/// A pattern is a type in which each `*` stands for any run of characters, also an empty one and one with dots:
/// `invoice.*` takes `invoice.paid` and `invoice.line.added`. With a leading `!` it excludes. A type passes if a
/// pattern includes it and none excludes it, in whatever order they stand; a list of exclusions alone takes everything
/// else, and an empty list takes nothing.
///
/// Types that begin with `webhookd.` are webhookd's own operational events. Whoever writes `*` means the events of
/// his applications, so these pass only where a pattern spells that beginning out: `webhookd.*` does, `*`, `web*` and
/// `!invoice.*` do not. Exclusions apply to them like to all others.
///
/// Upper and lower case differ. Matching takes time linear in the lengths of pattern and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeFilter {
    included: Vec<Pattern>,
    excluded: Vec<Pattern>,
}

/// Why a list of patterns is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("pattern {} {fault}", index + 1)]
pub struct PatternError {
    /// Which pattern of the list, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub fault: PatternFault,
}

/// What is wrong with a pattern.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatternFault {
    /// It has no characters, or only the `!`.
    #[error("is empty; write a type such as \"invoice.paid\", or \"*\" for all")]
    Empty,
    /// It is longer than [`TYPE_PATTERN_BYTES_MAX`].
    #[error("has {len} bytes, at most {TYPE_PATTERN_BYTES_MAX} are allowed")]
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// No type has this character, so the pattern could never match.
    #[error(
        "has the character {found:?} at byte {at}; allowed are letters, digits, _ - . : / and *, after a leading !"
    )]
    Character {
        /// The character.
        found: char,
        /// Its byte position, the `!` included.
        at: usize,
    },
    /// The list goes on past [`TYPE_PATTERNS_MAX`].
    #[error("is one too many, at most {TYPE_PATTERNS_MAX} are allowed")]
    TooMany,
}

impl Default for TypeFilter {
    /// `["*"]`
    fn default() -> Self {
        Self { included: vec![Pattern::parse("*")], excluded: Vec::new() }
    }
}

impl TypeFilter {
    /// Takes a list of patterns.
    ///
    /// # Errors
    /// The first pattern that breaks a rule.
    pub fn parse(patterns: &[impl AsRef<str>]) -> Result<Self, PatternError> {
        let mut filter = Self { included: Vec::new(), excluded: Vec::new() };
        for (index, text) in patterns.iter().map(AsRef::as_ref).enumerate() {
            check(index, text).map_err(|fault| PatternError { index, fault })?;
            match text.strip_prefix('!') {
                Some(text) => filter.excluded.push(Pattern::parse(text)),
                None => filter.included.push(Pattern::parse(text)),
            }
        }
        if filter.included.is_empty() && !filter.excluded.is_empty() {
            filter.included.push(Pattern::parse("*"));
        }
        Ok(filter)
    }

    /// The patterns, the including ones first.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        let included = self.included.iter().map(Pattern::text);
        included.chain(self.excluded.iter().map(|pattern| format!("!{}", pattern.text()))).collect()
    }

    /// Whether an event of this type passes.
    #[must_use]
    pub fn takes(&self, event_type: &str) -> bool {
        let operational = event_type.starts_with(OPERATIONAL_PREFIX);
        let may_include = |pattern: &&Pattern| !operational || pattern.first.starts_with(OPERATIONAL_PREFIX);
        self.included.iter().filter(may_include).any(|pattern| pattern.matches(event_type))
            && !self.excluded.iter().any(|pattern| pattern.matches(event_type))
    }
}

fn check(index: usize, text: &str) -> Result<(), PatternFault> {
    if index >= TYPE_PATTERNS_MAX {
        return Err(PatternFault::TooMany);
    }
    if text.len() > TYPE_PATTERN_BYTES_MAX {
        return Err(PatternFault::TooLong { len: text.len() });
    }
    let body = text.strip_prefix('!').unwrap_or(text);
    if body.is_empty() {
        return Err(PatternFault::Empty);
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '*');
    match body.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((at, found)) => Err(PatternFault::Character { found, at: at + text.len() - body.len() }),
        None => Ok(()),
    }
}

/// A pattern cut at its stars.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// What stands before the first star.
    first: Box<str>,
    /// `None`: there is no star.
    rest: Option<Rest>,
}

/// What follows the first star.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rest {
    /// What stands between two stars, empty parts left out.
    middle: Box<[Box<str>]>,
    /// What stands behind the last star.
    last: Box<str>,
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let Some((first, rest)) = text.split_once('*') else {
            return Self { first: text.into(), rest: None };
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|part| !part.is_empty()).map(Box::from).collect();
        Self { first: first.into(), rest: Some(Rest { middle, last: last.into() }) }
    }

    /// The pattern as it would be written.
    fn text(&self) -> String {
        let Some(Rest { middle, last }) = &self.rest else { return self.first.to_string() };
        let mut text = format!("{}*", self.first);
        for part in middle {
            text.push_str(part);
            text.push('*');
        }
        text.push_str(last);
        text
    }

    /// The ends are tied down; each part between them takes the first place it finds, which leaves the most to those
    /// that follow, so there is never a reason to go back.
    fn matches(&self, text: &str) -> bool {
        let Some(Rest { middle, last }) = &self.rest else {
            return *self.first == *text;
        };
        let Some(mut text) = text.strip_prefix(&*self.first).and_then(|text| text.strip_suffix(&**last)) else {
            return false;
        };
        for part in middle {
            match text.split_once(&**part) {
                Some((_, after)) => text = after,
                None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn takes(patterns: &[&str], event_type: &str) -> bool {
        TypeFilter::parse(patterns).unwrap().takes(event_type)
    }

    #[test]
    fn a_star_takes_any_run_of_characters() {
        assert!(takes(&["invoice.*"], "invoice.paid"));
        assert!(takes(&["invoice.*"], "invoice.line.added"));
        assert!(takes(&["invoice.*"], "invoice."));
        assert!(!takes(&["invoice.*"], "invoice"));
        assert!(!takes(&["invoice.*"], "my.invoice.paid"));
        assert!(takes(&["*.paid"], "invoice.paid"));
        assert!(takes(&["a*a"], "aa"));
        assert!(!takes(&["a*a"], "a"), "the ends do not overlap");
        assert!(takes(&["*b**c*"], "abxc"));
        assert!(!takes(&["Invoice"], "invoice"));
        assert!(!takes(&["invoice"], "invoice.paid"), "a pattern without a star is the whole type");
    }

    #[test]
    fn an_exclusion_wins_in_any_order() {
        for list in [["invoice.*", "!invoice.draft"], ["!invoice.draft", "invoice.*"]] {
            assert!(takes(&list, "invoice.paid"));
            assert!(!takes(&list, "invoice.draft"));
            assert!(!takes(&list, "order.paid"));
        }
        assert!(takes(&["!invoice.*"], "order.paid"), "exclusions alone take everything else");
        assert!(!takes(&["!invoice.*"], "invoice.paid"));
        assert!(!takes(&["a", "!*"], "a"));
    }

    #[test]
    fn patterns_are_told_as_they_are_meant() {
        let patterns = |list: &[&str]| TypeFilter::parse(list).unwrap().patterns();
        assert_eq!(patterns(&["!x.*", "invoice.*", "a*b**c", "paid"]), ["invoice.*", "a*b*c", "paid", "!x.*"]);
        assert_eq!(patterns(&["!x"]), ["*", "!x"]);
    }

    #[test]
    fn the_default_takes_all_and_an_empty_list_nothing() {
        assert!(TypeFilter::default().takes("invoice.paid"));
        assert_eq!(TypeFilter::parse(&["*"]), Ok(TypeFilter::default()));
        assert!(!TypeFilter::parse(&[] as &[&str]).unwrap().takes("invoice.paid"));
    }

    #[test]
    fn operational_events_go_to_those_who_name_them() {
        let event = "webhookd.endpoint.disabled";
        for list in [&["*"][..], &["web*"], &["*.disabled"], &["!invoice.*"], &["webhookd*"]] {
            assert!(!takes(list, event), "{list:?}");
        }
        for list in [&["webhookd.*"][..], &["*", "webhookd.endpoint.*"], &["webhookd.endpoint.disabled"]] {
            assert!(takes(list, event), "{list:?}");
        }
        assert!(!takes(&["webhookd.*", "!*.disabled"], event));
        assert!(takes(&["*"], "webhookd"), "only what follows the dot is webhookd's own");
    }

    #[test]
    fn bad_patterns_are_named() {
        let fault = |list: &[&str]| TypeFilter::parse(list).unwrap_err();
        assert_eq!(fault(&["a", ""]), PatternError { index: 1, fault: PatternFault::Empty });
        assert_eq!(fault(&["!"]).fault, PatternFault::Empty);
        assert_eq!(fault(&["!a b"]).fault, PatternFault::Character { found: ' ', at: 2 });
        assert_eq!(fault(&["!!a"]).fault, PatternFault::Character { found: '!', at: 1 });
        assert_eq!(fault(&["ü"]).fault, PatternFault::Character { found: 'ü', at: 0 });
        let long = "x".repeat(TYPE_PATTERN_BYTES_MAX + 1);
        assert_eq!(fault(&[&long]).fault, PatternFault::TooLong { len: long.len() });
        assert!(TypeFilter::parse(&[&long[1..]]).is_ok());
        let many = vec!["a"; TYPE_PATTERNS_MAX + 1];
        assert_eq!(fault(&many), PatternError { index: TYPE_PATTERNS_MAX, fault: PatternFault::TooMany });
        assert!(TypeFilter::parse(&many[1..]).is_ok());
        assert_eq!(
            fault(&["a", ""]).to_string(),
            "pattern 2 is empty; write a type such as \"invoice.paid\", or \"*\" for all"
        );
    }

    /// The definition of `*`, word for word; exponential, so for short texts only.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| naive(rest, &text[skipped..])),
            Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn matches_as_the_definition_says(pattern in "[ab.*]{1,8}", text in "[ab.]{0,10}") {
            prop_assert_eq!(Pattern::parse(&pattern).matches(&text), naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn a_list_is_any_inclusion_without_any_exclusion(
            list in prop::collection::vec("!?[ab*]{1,4}", 1..5), text in "[ab]{0,6}",
        ) {
            let hit = |text_of: &dyn Fn(&str) -> Option<String>| {
                list.iter().filter_map(|p| text_of(p)).any(|p| naive(p.as_bytes(), text.as_bytes()))
            };
            let excluded = hit(&|p| p.strip_prefix('!').map(str::to_owned));
            let included = hit(&|p| (!p.starts_with('!')).then(|| p.to_owned()))
                || list.iter().all(|p| p.starts_with('!'));
            prop_assert_eq!(TypeFilter::parse(&list).unwrap().takes(&text), included && !excluded);
        }
    }
}
