-- options: 'proto_version', '1', 'messages', 'true', 'binary', 'true'
-- The same values as their send functions give them.
CREATE PUBLICATION golden FOR ALL TABLES;
\ir include/types.sql
