"""What a question asks for, and whether mirroring the image harms it; usable alone."""
