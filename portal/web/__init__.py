"""What stands around every page: requests checked and answered, forms, fragments, assets, headers."""
