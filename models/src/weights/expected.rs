//! Expected tensors: the names and shapes that a config asks for.

/// A tensor that a config asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Expected {
    /// The tensor `name` of `shape`.
    pub fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self { name: name.into(), shape: shape.to_vec() }
    }
}
