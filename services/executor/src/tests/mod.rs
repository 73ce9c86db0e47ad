//! The executor over real git and a forge in memory.

mod batch;
mod forge;
mod report;
mod world;
