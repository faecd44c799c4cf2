"""What was measured, as records: results that runs write and reports read, and what one may expect of them."""
