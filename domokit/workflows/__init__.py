"""What spans several entities and has one intent."""
