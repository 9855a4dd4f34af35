//! NAR archives: strict reading and writing.
