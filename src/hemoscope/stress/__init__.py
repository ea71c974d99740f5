"""What breaks a model: damaged images, and cells without their background or backgrounds without their cell."""
