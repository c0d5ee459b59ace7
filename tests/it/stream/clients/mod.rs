//! Real clients that send context: applications with the ORM packages of Bemi.
//!
//! Each application is one script. Its packages are installed from PyPI or npm into the cache folder.

mod application;
mod django;
mod environment;
mod migrated;
mod prisma;
mod sqlalchemy;
