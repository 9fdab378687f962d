//! End-to-end paths, load, tidy.
