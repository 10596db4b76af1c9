//! Rows and versions of the table.
