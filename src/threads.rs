//! The stack size of threads, and locking without poisoning.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The stack of a thread, in bytes. Rows are encoded in buffers and not on the stack; pages of the stack that
/// are never touched take no memory.
pub const STACK: usize = 512 * 1024;

/// Locks a mutex, also after a panic of a thread that held it: the values behind the mutexes of this program
/// are consistent at every moment.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
