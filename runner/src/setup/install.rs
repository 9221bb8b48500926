//! Installing system packages.
