"""Pages of rows with their pictures, of one file each: what the galleries of OOF answers and of test answers share."""
