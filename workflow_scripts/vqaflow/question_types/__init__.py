"""What a question asks for, and whether mirroring its image is unsafe; usable on its own."""
