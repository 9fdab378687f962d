//! The command line: run, check, device, dead, simulate.
