//! What a run tells: its story when it fails, its figures when it does not.

use std::fmt;
use std::ops::AddAssign;

/// Lines of the story that are shown; the last ones count.
const STORY_LINES_MAX: usize = 400;

/// What happened in a run, act by act.
#[derive(Debug, Default)]
pub(crate) struct Story {
    lines: Vec<String>,
    aloud: bool,
}

impl Story {
    /// A story that is also told while it happens, where `SIM_TELL` is set.
    pub(crate) fn new() -> Self {
        Self { lines: Vec::new(), aloud: std::env::var_os("SIM_TELL").is_some() }
    }

    /// Adds a line.
    pub(crate) fn tell(&mut self, line: String) {
        if self.aloud {
            println!("{line}");
        }
        self.lines.push(line);
    }
}

/// A run in which something did not hold.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) breaches: Vec<String>,
    pub(crate) story: Story,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, breaches, story } = self;
        let shown = story.lines.len().saturating_sub(STORY_LINES_MAX);
        writeln!(f, "seed {seed}: the story{}", if shown > 0 { ", its last part" } else { "" })?;
        story.lines[shown..].iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "seed {seed}: what did not hold")?;
        breaches.iter().take(20).try_for_each(|breach| writeln!(f, "  {breach}"))?;
        write!(f, "repeat it with\n  SIM_SEED={seed} cargo test --locked --test it sim::every_seed -- --nocapture")
    }
}

macro_rules! counts {
    ($($name:ident $words:literal,)*) => {
        /// How much of everything there was.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Counts {
            $(pub $name: u64,)*
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl fmt::Display for Counts {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let told = [$(format!("{} {}", self.$name, $words),)*];
                f.write_str(&told.join(", "))
            }
        }
    };
}

counts! {
    stored "events acknowledged",
    repeats "repeats recognised",
    conflicts "conflicts",
    refused "requests refused",
    attempts "attempts",
    taken "taken",
    revived "deliveries replayed",
    given_up "given up while a breaker was open",
    openings "breakers opened",
    disabled "endpoints disabled",
    reloads "reloads",
    reports "operational events",
    crashes "crashes",
    cut "of these in the middle of something",
    stops "clean restarts",
    troubles "times the disk refused",
    damages "damaged generations",
    generations "generations that took events",
}
