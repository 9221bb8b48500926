//! The `plugin` room.
