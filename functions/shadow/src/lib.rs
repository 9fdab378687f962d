//! What applications desire of a device.
