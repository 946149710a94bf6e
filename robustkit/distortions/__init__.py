"""What happens to pictures without an attacker: blur, weather, compression, bending. Batched."""
