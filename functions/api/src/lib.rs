//! HTTP for applications.
