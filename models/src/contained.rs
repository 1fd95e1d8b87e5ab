//! Containment of foreign code that may panic on what a file holds.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::foreign_text::shown;

thread_local! {
    /// Whether a panic on this thread becomes an error.
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of the current thread becomes an error. A program's panic hook may stay silent then.
#[must_use]
pub fn is_contained() -> bool {
    CONTAINED.get()
}

/// Runs `work`; a panic of it becomes its message.
///
/// What `work` leaves half done is the caller's to drop.
///
/// # Errors
/// What the panic said, shortened.
pub fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CONTAINED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    result.map_err(|panic| shown(panic_text(&*panic)))
}

/// What a panic said.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message_and_only_within() {
        assert_eq!(contained(|| 7), Ok(7));
        assert!(contained(is_contained) == Ok(true) && !is_contained());
        let panicked: Result<(), String> = contained(|| std::panic::resume_unwind(Box::new("because".to_owned())));
        assert_eq!(panicked, Err("because".to_owned()));
        assert!(!is_contained());
    }
}
