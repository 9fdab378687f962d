//! What a person is told when a command did not do what was asked.

/// Lines for a person, one for each reason.
#[derive(Debug)]
pub struct Failure(pub Vec<String>);

impl Failure {
    /// One line.
    #[must_use]
    pub fn new(line: impl Into<String>) -> Self {
        Self(vec![line.into()])
    }

    /// The attempt, then the whole chain of reasons.
    #[must_use]
    pub fn from_error(attempt: &str, error: &dyn std::error::Error) -> Self {
        let mut line = format!("{attempt}: {error}");
        let mut source = error.source();
        while let Some(error) = source {
            line.push_str(&format!(": {error}"));
            source = error.source();
        }
        Self::new(line)
    }
}
