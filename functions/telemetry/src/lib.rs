//! What devices report: decode, validate, merge, rules.
