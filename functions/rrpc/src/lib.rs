//! Calls to devices and the replies that answer them.
