"""What is done to a connection that ends; nothing here knows Flask."""
