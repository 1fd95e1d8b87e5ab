//! Routes: a file for each kind of answer.

pub(crate) mod all_events;
pub(crate) mod audio;
pub(crate) mod check;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod info;
pub(crate) mod openapi;
pub(crate) mod songs;
pub(crate) mod speech;
