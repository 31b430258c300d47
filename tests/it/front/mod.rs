//! Hostile and hopeless clients, byte by byte, against the real daemon: what each limit answers, and that honest clients are
//! served all the while. How long the time limits are is tested on a paused clock, in `src/front`.

mod crowd;
mod doors;
mod files;
mod framing;
mod http2;
mod places;
mod proxied;
mod raw;
