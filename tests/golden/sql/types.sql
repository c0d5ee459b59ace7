-- Values of the built-in types as text: a full row, a row of NULLs, a row of limits.
CREATE PUBLICATION golden FOR ALL TABLES;
\ir include/types.sql
