//! Wire formats: topic and bytes to model and back, for every dialect.
