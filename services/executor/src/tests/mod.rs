//! The executor over real git and a forge in memory.

mod batch;
mod command;
mod forge;
mod preview;
mod report;
mod world;
