"""The files that users give and rules exchange: their columns, and how each is read and written."""
