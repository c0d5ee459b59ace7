//! Pure: transactions, context, values to JSON, rows to binary COPY.

pub mod assembler;
pub mod batch;
mod binary;
pub mod catalog;
pub mod characters;
pub mod context;
pub mod copy;
pub mod encoding;
pub mod json;
pub mod lineage;
pub mod mask;
pub mod notes;
pub mod reasons;
pub mod relation;
pub mod row;
pub mod settings;
pub mod shape;
pub mod table_counts;
pub mod truncate;
mod truncated_parts;
pub mod uuid;

pub use assembler::{Assembler, Place};
pub use batch::{Batch, Counts, Patch, TruncatedTables};
pub use catalog::{AnswersAt, Catalog, Described, FIRST_USER_OID, Holds, RelationFacts};
pub use characters::Characters;
pub use encoding::{ClientEncoding, Convert, Encoding, StoredEncoding};
pub use lineage::{Ancestor, Lineage, is_tool_schema};
pub use notes::Note;
pub use settings::{Settings, Tracked};
pub use shape::RowShape;
pub use truncate::TreeNode;
