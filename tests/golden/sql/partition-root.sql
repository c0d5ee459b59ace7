-- The same under the OID of the root.
CREATE PUBLICATION golden FOR ALL TABLES WITH (publish_via_partition_root = true);
\ir include/partition.sql
