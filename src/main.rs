//! The s3pail binary.
fn main() {}
