"""The suites of the built-in source. This file makes the folder a package, as poetry-core wants it, so that the wheel carries them."""
