"""What lies in a competition's folder: its tables, told by their columns, and where their pictures are."""
