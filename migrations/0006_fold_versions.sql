-- Which version of its fold (`Table::VERSION` in projections/src/table.rs) the rows of a table come from. A program that folds
-- another one neither goes on with them nor compares them with its own: the table is rebuilt.
ALTER TABLE projection_checkpoints ADD COLUMN fold_version integer NOT NULL DEFAULT 1;
