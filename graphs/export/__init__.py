"""A plan or the component types, written out: JSON Schema, tables of fields, drawings of graphs."""
