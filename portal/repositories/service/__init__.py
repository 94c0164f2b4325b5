"""What people see of the catalogue and what they change in it."""
