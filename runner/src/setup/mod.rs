//! The `setup` room.
