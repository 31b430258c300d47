//! Damage to the data folder of a real daemon, while it is stopped and while it runs: it starts, serves and delivers all that
//! was not hit, and whatever is lost is named in `/readyz`, in the log and in the metrics, until somebody has cleared it away.

mod running;
mod scene;
mod stopped;
