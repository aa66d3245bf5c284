"""Reading the web: pages come in as data, and nothing goes out but the question for them."""
