//! What is wrong with a thing model file, and where.

/// One thing that is wrong with a thing model. Shown as `file path: reason`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{file}{}{path}: {reason}", if path.is_empty() { "" } else { " " })]
pub struct ModelProblem {
    /// Name of the file, as it was given; empty if the product has no file at all.
    pub file: String,
    /// JSON Pointer (RFC 6901) to the part that is wrong, such as
    /// `/properties/3/dataType/specs/min`; empty for the file as a whole. If a part is missing, the
    /// pointer ends where it should stand.
    pub path: String,
    /// For people: what was found and what would fit.
    pub reason: String,
}
