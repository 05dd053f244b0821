//! What the fuzz targets do with their input. `tests/` holds one bolero target for each function;
//! README.md says how to run them.

pub mod crypto;
pub mod wire;
