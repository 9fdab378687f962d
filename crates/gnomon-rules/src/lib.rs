//! Rules written in Rhai: compile, index, evaluate, within hard limits.
