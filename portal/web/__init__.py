"""What surrounds every page: request checks, responses, forms, fragments, assets, headers."""
