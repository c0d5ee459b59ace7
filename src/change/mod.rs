//! Pure: transactions, context stitching, values to JSON, rows to COPY binary, masking.

pub mod mask;
