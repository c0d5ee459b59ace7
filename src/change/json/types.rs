//! The kinds of types that `to_jsonb` distinguishes, and the kind of every built-in type.

use std::sync::Arc;

use super::escape::write_string;
use crate::lsn::Oid;

/// How `to_jsonb` turns a value of a type into JSON. A domain is of its base type's kind.
///
/// `to_jsonb` looks for built-in scalars first, then for arrays and composites, then (for types
/// that are not built in) for a cast to json; everything else is a string of the type's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueType {
    /// `boolean`.
    Bool,
    /// `smallint`, `integer`, `bigint`: a JSON number. (`oid` and `money` are strings.)
    Number,
    /// `real`, `double precision`, `numeric`: a JSON number, or a string for NaN and infinities.
    Float,
    /// `json` and `jsonb`: embedded.
    Json,
    /// `date`: ISO 8601.
    Date,
    /// `timestamp`: ISO 8601 with a `T`.
    Timestamp,
    /// `timestamp with time zone`: ISO 8601 with a `T` and the offset's minutes.
    TimestampTz,
    /// Every other type: a JSON string of its output.
    Text,
    /// `int2vector`: an array of numbers.
    Int2Vector,
    /// `oidvector`: an array of strings, since `oid` is one.
    OidVector,
    /// An array of any number of dimensions.
    Array {
        /// The type of its elements.
        element: Arc<ValueType>,
        /// `pg_type.typdelim` of the element type: a comma for all but `box`.
        delimiter: u8,
    },
    /// A composite type: its live attributes in the order of `attnum`.
    Composite(Arc<[CompositeField]>),
    /// `hstore` of contrib, whose cast to json gives an object of strings and nulls.
    Hstore,
    /// Another type with a cast to json by a function, which only the source can compute.
    Cast {
        /// The type: unlike its name, its OID needs no right on the type's schema, and stays when the type is
        /// renamed.
        type_oid: Oid,
    },
}

impl ValueType {
    /// An array of `element`, with the comma that all element types but `box` use.
    pub fn array_of(element: ValueType) -> ValueType {
        ValueType::Array {
            element: Arc::new(element),
            delimiter: b',',
        }
    }
}

/// An attribute of a composite type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompositeField {
    key: Box<[u8]>,
    value_type: ValueType,
}

impl CompositeField {
    /// From `pg_attribute.attname` and the type of the attribute.
    pub fn new(name: &str, value_type: ValueType) -> CompositeField {
        let mut key = Vec::with_capacity(name.len() + 3);
        write_string(&mut key, name.as_bytes());
        key.push(b':');
        CompositeField {
            key: key.into(),
            value_type,
        }
    }

    /// The name as a JSON object key, with its colon.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(super) fn value_type(&self) -> &ValueType {
        &self.value_type
    }
}

/// The built-in type of this OID, from the tables below; `None` sends the caller to the catalog.
///
/// The OIDs of `pg_type` below 10,000 are fixed by PostgreSQL and mean the same on 14 to 18
/// (compared on live servers of each). Row types of catalogs, and what `information_schema` adds
/// with OIDs that `initdb` gives out, are not here.
pub fn builtin(oid: Oid) -> Option<ValueType> {
    scalar(oid.0).or_else(|| {
        let at = ARRAYS.binary_search_by_key(&oid.0, |pair| pair.0).ok()?;
        let element = ARRAYS.get(at)?.1;
        Some(ValueType::Array {
            element: Arc::new(scalar(element)?),
            delimiter: if element == BOX { b';' } else { b',' },
        })
    })
}

const BOX: u32 = 603;

fn scalar(oid: u32) -> Option<ValueType> {
    Some(match oid {
        16 => ValueType::Bool,
        20 | 21 | 23 => ValueType::Number,
        700 | 701 | 1700 => ValueType::Float,
        114 | 3802 => ValueType::Json,
        1082 => ValueType::Date,
        1114 => ValueType::Timestamp,
        1184 => ValueType::TimestampTz,
        22 => ValueType::Int2Vector,
        30 => ValueType::OidVector,
        _ if TEXTS.binary_search(&oid).is_ok() => ValueType::Text,
        _ => return None,
    })
}

/// `pg_type.oid` of the built-in base, range and multirange types that `to_jsonb` prints as
/// strings.
#[rustfmt::skip]
const TEXTS: &[u32] = &[
    // bytea "char" name regproc text oid tid xid cid xml pg_node_tree
    17, 18, 19, 24, 25, 26, 27, 28, 29, 142, 194,
    // point lseg path box polygon line cidr circle macaddr8 money macaddr inet
    600, 601, 602, 603, 604, 628, 650, 718, 774, 790, 829, 869,
    // aclitem bpchar varchar time interval timetz bit varbit refcursor
    1033, 1042, 1043, 1083, 1186, 1266, 1560, 1562, 1790,
    // regprocedure regoper regoperator regclass regtype uuid txid_snapshot pg_lsn
    2202, 2203, 2204, 2205, 2206, 2950, 2970, 3220,
    // pg_ndistinct pg_dependencies tsvector tsquery gtsvector regconfig regdictionary
    3361, 3402, 3614, 3615, 3642, 3734, 3769,
    // int4range numrange tsrange tstzrange daterange int8range jsonpath
    3904, 3906, 3908, 3910, 3912, 3926, 4072,
    // regnamespace regrole regcollation; the multiranges in the order of the ranges
    4089, 4096, 4191, 4451, 4532, 4533, 4534, 4535, 4536,
    // pg_brin_bloom_summary pg_brin_minmax_multi_summary pg_mcv_list pg_snapshot xid8
    4600, 4601, 5017, 5038, 5069,
];

/// `pg_type.oid` of the built-in array types, each with its `typelem`.
#[rustfmt::skip]
const ARRAYS: &[(u32, u32)] = &[
    (143, 142), (199, 114), (271, 5069), (629, 628), (651, 650), (719, 718), (775, 774),
    (791, 790), (1000, 16), (1001, 17), (1002, 18), (1003, 19), (1005, 21), (1006, 22),
    (1007, 23), (1008, 24), (1009, 25), (1010, 27), (1011, 28), (1012, 29), (1013, 30),
    (1014, 1042), (1015, 1043), (1016, 20), (1017, 600), (1018, 601), (1019, 602), (1020, BOX),
    (1021, 700), (1022, 701), (1027, 604), (1028, 26), (1034, 1033), (1040, 829), (1041, 869),
    (1115, 1114), (1182, 1082), (1183, 1083), (1185, 1184), (1187, 1186), (1231, 1700),
    (1270, 1266), (1561, 1560), (1563, 1562), (2201, 1790), (2207, 2202), (2208, 2203),
    (2209, 2204), (2210, 2205), (2211, 2206), (2949, 2970), (2951, 2950), (3221, 3220),
    (3643, 3614), (3644, 3642), (3645, 3615), (3735, 3734), (3770, 3769), (3807, 3802),
    (3905, 3904), (3907, 3906), (3909, 3908), (3911, 3910), (3913, 3912), (3927, 3926),
    (4073, 4072), (4090, 4089), (4097, 4096), (4192, 4191), (5039, 5038), (6150, 4451),
    (6151, 4532), (6152, 4533), (6153, 4534), (6155, 4535), (6157, 4536),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_each_array_has_an_element_type() {
        assert!(TEXTS.is_sorted_by(|a, b| a < b));
        assert!(ARRAYS.is_sorted_by(|a, b| a.0 < b.0));
        for (array, element) in ARRAYS {
            assert!(scalar(*element).is_some(), "{array}");
            assert!(scalar(*array).is_none(), "{array}");
        }
    }

    #[test]
    fn box_arrays_are_split_at_semicolons_and_all_others_at_commas() {
        for (array, element) in ARRAYS {
            let Some(ValueType::Array { delimiter, .. }) = builtin(Oid(*array)) else {
                panic!("{array} is no array");
            };
            assert_eq!(delimiter == b';', *element == BOX, "{array}");
        }
    }

    #[test]
    fn money_and_oid_are_strings_and_what_initdb_numbers_is_left_to_the_catalog() {
        assert_eq!(builtin(Oid(790)), Some(ValueType::Text));
        assert_eq!(builtin(Oid(26)), Some(ValueType::Text));
        // pg_class's row type, its array, record, information_schema's first types, a user's type.
        for oid in [0, 83, 273, 2249, 12_000, 13_221, 16_384] {
            assert_eq!(builtin(Oid(oid)), None, "{oid}");
        }
    }
}
