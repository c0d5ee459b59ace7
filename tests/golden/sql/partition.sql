-- Changes of a partitioned table under the OIDs of its partitions.
CREATE PUBLICATION golden FOR ALL TABLES;
\ir include/partition.sql
