//! Networks, servers and processes that fail: nothing is lost, nothing is doubled, what cannot be
//! known is recorded.

mod damage;
mod failover;
mod gaps;
mod kills;
mod limits;
mod network;
mod outages;
mod restores;
mod torture;
