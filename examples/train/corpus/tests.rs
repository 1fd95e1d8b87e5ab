//! What does the corpus promise?
