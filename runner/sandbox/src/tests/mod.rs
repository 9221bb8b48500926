//! Hostile guests, hostile files, and the runner's state afterwards.

mod ask;
mod attempts;
mod caching;
mod caps;
mod copies;
mod direct;
mod disk;
mod disk_budget;
mod evil;
mod files;
mod guests;
mod imports;
mod limits;
mod pushes;
mod reach;
mod sdk;
mod wire;
mod wire_limits;
