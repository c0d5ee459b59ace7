//! What all threads share: the size of a stack, and locks without poisoning.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The stack of a thread, in bytes: a row is encoded in buffers, not on the stack, and of what is not touched
/// no memory is used.
pub const STACK: usize = 512 * 1024;

/// Locks a mutex whether or not another thread panicked while it held it: every value behind one of our
/// mutexes is whole at each moment.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
